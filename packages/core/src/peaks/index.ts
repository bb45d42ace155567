/** `@msd/core/peaks`: the limits of this machine, to compare kernels with. */

export { type MachinePeaks, measurePeaks } from './measure.ts';
export { dotPeak, mulAddPeak, type Peak, readBandwidth, relaxedDotPeak } from './peaks.ts';
