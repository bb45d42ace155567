/** `@msd/core/peaks`: what this machine can do at all, to compare with. */

export { type MachinePeaks, measurePeaks } from './measure.ts';
export { dotPeak, mulAddPeak, type Peak, readBandwidth, relaxedDotPeak } from './peaks.ts';
