/** What a run takes where it was not measured: on a phone, or here when the model is too large to try. */
import type { MachinePeaks } from '@msd/core/peaks';
import type { Work } from '@msd/onnx/inspect';

/**
 * One thread of a phone of the middle class in a page without cross-origin isolation. Assumed, not measured: products with two
 * components, bytes from memory, and how much longer everything else takes than on a desktop.
 */
export const PHONE = { gmacs: 12, gigabytes: 8, slowdown: 3 } as const;

/** The machine that the prices of @msd/onnx were fitted on. */
const FITTED_DOT_GMACS = 47;
/** Products in those prices. */
const FITTED_GMACS = 35;
/** What products reach of the peak of int16 dots. */
const SHARE_OF_PEAK = 0.75;

/** Milliseconds of MSD's products at given rates: they multiply, or wait for weights. */
function productMs({ msdMacs }: Work, weightBytes: number, gmacs: number, gigabytes: number): number {
  return Math.max(msdMacs / gmacs, weightBytes / gigabytes) / 1e6;
}

/** Bytes of a packed weight at most: a run with one row takes each weight from memory once. */
const WEIGHT_BYTES = 1.125;

/**
 * What the cost model says, for a machine with such peaks. Its prices know no memory: products of one row wait for weights.
 *
 * @param weightBytes of MSD's packed weights
 */
export function predictedMs(work: Work, weightBytes: number, { dotGmacs, readGigabytes }: MachinePeaks): number {
  const priced = (work.predictedMicroseconds.msd / 1000) * (FITTED_DOT_GMACS / dotGmacs);
  const read = Math.min(weightBytes, WEIGHT_BYTES * work.msdMacs);
  const multiplied = work.msdMacs / FITTED_GMACS / 1e6;
  return priced + Math.max(0, read / readGigabytes / 1e6 - multiplied * (FITTED_DOT_GMACS / dotGmacs));
}

/**
 * On a phone: products at its rates, and the rest so many times longer than here.
 *
 * @param hereMs what the run takes here
 * @param weightBytes of MSD's packed weights
 */
export function phoneMs(
  work: Work,
  weightBytes: number,
  hereMs: number,
  { dotGmacs, readGigabytes }: MachinePeaks,
): number {
  const here = productMs(work, weightBytes, SHARE_OF_PEAK * dotGmacs, readGigabytes);
  const rest = Math.max(0, hereMs - here);
  return productMs(work, weightBytes, PHONE.gmacs, PHONE.gigabytes) + PHONE.slowdown * rest;
}
