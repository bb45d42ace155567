/**
 * What a step between products is expected to take here. There is no closed form, but prices per element, fitted to
 * whole models on a machine with a dot peak of 47; they scale with that peak.
 */
import type { MachinePeaks } from '../../peaks/measure.ts';

/** What a step does. */
export interface StepWork {
  /** Elements that it writes. */
  readonly written: number;
  /** Products of floats. */
  readonly macs?: number | undefined;
  /**
   * What computes them: a matrix product, that of a convolution, which has many rows, or windows that slide over one
   * channel.
   */
  readonly kind?: 'matrix' | 'convolution' | 'window' | undefined;
  /** Elements of windows that become parts of rows. */
  readonly gathered?: number | undefined;
}

const FITTED_DOT_GMACS = 47;
/** Microseconds: of a step, of an element that it writes or gathers, of a product. */
const STEP = 0.6;
const ELEMENT = 5e-4;
const GATHERED = 2e-4;
const MAC = { matrix: 1 / 9_500, convolution: 1 / 15_000, window: 1 / 4_000 } as const;

/** @returns microseconds, on one thread */
export function stepTime({ dotGmacs }: MachinePeaks, work: StepWork): number {
  const { written, macs = 0, kind = 'matrix', gathered = 0 } = work;
  const fitted = ELEMENT * written + GATHERED * gathered + MAC[kind] * macs;
  return STEP + fitted * (FITTED_DOT_GMACS / dotGmacs);
}
