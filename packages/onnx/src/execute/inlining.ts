/** Models with functions or branches, which few are: fetched by itself. */
import { Branches } from '../inline/branches.ts';
import { piece } from '../ops/index.ts';
import type { ModelRecord } from '../read/model.ts';

export const inlined = /* @__PURE__ */ piece((record: ModelRecord) => new Branches(record));
