/** A convolution's input as rows: what lies under the kernel at some of its positions, tap after tap, all channels of a tap together. */

import { random as seededRandom } from '@msd/core/numerics';
import type { NodeRecord } from '@msd/onnx/model';
import type { Tensor } from 'onnxruntime-web';
import { intsOf } from '../edit/open-model.ts';
import { numbersOf } from '../feeds/engines.ts';

export interface Patches {
  /** Convolutions with equal keys see the same rows. */
  readonly key: string;
  rows(tensor: Tensor, most: number): Promise<Float32Array>;
}

/** @param weights dims [N, channels, …]. @returns `undefined` for padding that follows the sizes of a run */
export function patchesOf(node: NodeRecord, [, channels = 0, ...kernel]: readonly number[]): Patches | undefined {
  const padding = node.attributes.get('auto_pad');
  if (padding?.kind === 'string' && padding.value.length !== 'NOTSET'.length) return undefined;
  const ones = kernel.map(() => 1);
  const strides = intsOf(node, 'strides') ?? ones;
  const dilations = intsOf(node, 'dilations') ?? ones;
  const pads = intsOf(node, 'pads') ?? [...ones, ...ones].map(() => 0);
  const taps = kernel.reduce((product, size) => product * size, 1);
  const K = taps * channels;
  return {
    key: JSON.stringify([kernel, strides, dilations, pads]),
    async rows(tensor, most) {
      const [batch = 0, , ...sizes] = tensor.dims;
      const outputs = sizes.map(
        (size, d) =>
          Math.floor(
            (size + pads[d]! + pads[d + kernel.length]! - dilations[d]! * (kernel[d]! - 1) - 1) / strides[d]!,
          ) + 1,
      );
      const positions = outputs.reduce((product, size) => product * size, batch);
      const pixels = sizes.reduce((product, size) => product * size, 1);
      const x = await numbersOf(tensor);
      const random = seededRandom(positions);
      const count = Math.max(0, Math.min(most, positions));
      const rows = new Float32Array(count * K);
      for (let row = 0; row < count; row++) {
        let position = count === positions ? row : Math.floor(random() * positions);
        const at = outputs
          .map((_, d) => d)
          .reverse()
          .reduce<number[]>((found, d) => {
            found[d] = position % outputs[d]!;
            position = Math.floor(position / outputs[d]!);
            return found;
          }, []);
        for (let tap = 0; tap < taps; tap++) {
          const pixel = pixelOf(tap, at);
          if (pixel < 0) continue;
          for (let c = 0; c < channels; c++)
            rows[row * K + tap * channels + c] = x[(position * channels + c) * pixels + pixel]!;
        }
      }
      return rows;

      /** −1: in the padding. */
      function pixelOf(tap: number, at: readonly number[]): number {
        let [rest, pixel, stride] = [tap, 0, 1];
        for (let d = kernel.length - 1; d >= 0; d--) {
          const place = at[d]! * strides[d]! - pads[d]! + (rest % kernel[d]!) * dilations[d]!;
          if (place < 0 || place >= sizes[d]!) return -1;
          pixel += place * stride;
          stride *= sizes[d]!;
          rest = Math.floor(rest / kernel[d]!);
        }
        return pixel;
      }
    },
  };
}
