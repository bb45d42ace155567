/** How far two results are apart. */
import type { Tensor } from 'onnxruntime-web';
import { numbersOf, type Results } from './engines.ts';

/** Sums of squares of a reference and of what is off. */
export class Noise {
  signal = 0;
  lost = 0;

  add(reference: ArrayLike<number>, got: ArrayLike<number>, from = 0, to = reference.length): this {
    for (let i = from; i < to; i++) {
      this.signal += reference[i]! ** 2;
      this.lost += (reference[i]! - got[i]!) ** 2;
    }
    return this;
  }

  /** Signal to noise in dB; Infinity for equal ones. */
  get sqnr(): number {
    return this.lost === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(this.signal / this.lost);
  }
}

/** All float outputs of two runs. */
export async function noiseOf(reference: Results, got: Results): Promise<number> {
  const noise = new Noise();
  for (const [name, tensor] of Object.entries(reference)) {
    const other: Tensor | undefined = got[name];
    if (!other || !tensor.type.startsWith('float')) continue;
    noise.add(await numbersOf(tensor), await numbersOf(other));
  }
  return noise.sqnr;
}

/** dB as people read them, and as JSON can hold them. */
export const dBText = (dB: number): string =>
  Number.isFinite(dB) ? `${dB.toFixed(1)} dB` : dB > 0 ? 'the same bits' : 'no number';
