/** For models with functions, branches or loops, which are few: a piece of its own. */
import './create.ts'; // see families.ts
import { Branches } from '../inline/branches.ts';
import { piece } from '../ops/index.ts';
import type { ModelRecord } from '../read/model.ts';
import { draftControl } from './control/draft.ts';
import { controlIn, nestedIn } from './control/nested.ts';

export const inlining = /* @__PURE__ */ piece({
  branches: (record: ModelRecord) => new Branches(record),
  control: { draft: draftControl, nested: nestedIn, build: controlIn },
});
