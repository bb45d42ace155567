/** @msd/core/program: steps over values that a device runs. */
export type { Call, Changes, Device, OpWork, ProductEnd, ProductWork, Work } from '../backends/device.ts';
export { byteLength, byteSize, elementCount } from '../ops/op.ts';
export { prepareRows, type WeightRows } from './prepare-rows.ts';
export { Program, type ScriptStep, type Slot, type Step, type WorkStep } from './program.ts';
