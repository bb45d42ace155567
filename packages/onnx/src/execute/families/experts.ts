/** Mixtures of experts. */
import '../create.ts'; // see families.ts
import { expertOperators } from '../../ops/experts.ts';
import { piece } from '../../ops/index.ts';
import { Experts } from '../experts.ts';
import type { FetchedFamily } from '../families.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({ operators: expertOperators, parts: { Experts } });
