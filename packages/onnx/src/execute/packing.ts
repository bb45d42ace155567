/** Kernels that pack weights: fetched for more than 4 MB of them. */
import './create.ts'; // see families.ts
import { packKernels } from '@msd/core/program';
import { piece } from '../ops/index.ts';

export const packing = /* @__PURE__ */ piece({ packKernels });
