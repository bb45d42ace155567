/** Attention as exporters of decoders write it. */
import '../create.ts'; // see families.ts
import { groupQueryAttention } from '../../ops/attention/group-query.ts';
import { piece } from '../../ops/index.ts';
import type { FetchedFamily } from '../families.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({ operators: [groupQueryAttention] });
