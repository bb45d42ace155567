import { codebookFormat } from './codebook.ts';
import type { WeightFormat } from './format.ts';
import { int2 } from './int2.ts';
import { int4 } from './int4.ts';
import { int8 } from './int8.ts';
import { mxfp4 } from './mxfp4.ts';
import type { FormatId } from './weights.ts';

/** Every weight format. Validation, packing, kernels, tests and benchmarks loop over this. */
export const formats: Readonly<Record<FormatId, WeightFormat>> = {
  int8,
  int4,
  mxfp4,
  int2,
  nf4: /* @__PURE__ */ codebookFormat('nf4'),
  fp4: /* @__PURE__ */ codebookFormat('fp4'),
  nf4low: /* @__PURE__ */ codebookFormat('nf4low'),
  fp4low: /* @__PURE__ */ codebookFormat('fp4low'),
};

export const formatIds: readonly FormatId[] = /* @__PURE__ */ Object.keys(formats) as FormatId[];
