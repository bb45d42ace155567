/** What ONNX Runtime runs: regions of a model, or all of it. Fetched when there is something of it. */
import './create.ts'; // see families.ts
import { piece } from '../ops/index.ts';
import { createForeign } from './foreign.ts';
import { createWhole } from './whole.ts';
import { wholeOptions } from './whole-files.ts';

export const ortSide = /* @__PURE__ */ piece({ createForeign, createWhole, wholeOptions });
