/** Convolutions in float64, as ONNX defines them. */
import type { AttributeSpec } from '../src/write/index.ts';

/** Attributes of Conv that matter here. */
export interface ConvShape {
  readonly batch: number;
  readonly channels: number;
  readonly spatial: readonly number[];
  readonly outs: number;
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[] | 'SAME_UPPER' | 'SAME_LOWER' | 'VALID';
}

const count = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);

export function attributesOf({ kernel, strides, dilations, pads }: ConvShape): Record<string, AttributeSpec> {
  return {
    kernel_shape: { ints: kernel },
    strides: { ints: strides },
    dilations: { ints: dilations },
    ...(typeof pads === 'string' ? { auto_pad: { string: pads } } : { pads: { ints: pads } }),
  };
}

/** Sizes of the result, and where the first window begins. */
export function outOf({ spatial, kernel, strides, dilations, pads }: ConvShape): { out: number[]; before: number[] } {
  const each = spatial.map((size, d) => {
    const span = (kernel[d]! - 1) * dilations[d]! + 1;
    if (pads === 'VALID') return [Math.floor((size - span) / strides[d]!) + 1, 0] as const;
    if (typeof pads === 'string') {
      const out = Math.ceil(size / strides[d]!);
      const total = Math.max(0, (out - 1) * strides[d]! + span - size);
      return [out, pads === 'SAME_UPPER' ? Math.floor(total / 2) : Math.ceil(total / 2)] as const;
    }
    const [before, after] = [pads[d]!, pads[d + kernel.length]!];
    return [Math.floor((size + before + after - span) / strides[d]!) + 1, before] as const;
  });
  return { out: each.map(([out]) => out), before: each.map(([, before]) => before) };
}

/** Windows of x [batch, channels, …] as rows [batch · positions, taps · channels], tap after tap. */
export function windowRows(shape: ConvShape, x: Float32Array): { rows: Float32Array; out: number[]; K: number } {
  const { batch, channels, spatial, kernel, strides, dilations } = shape;
  const { out, before } = outOf(shape);
  const K = count(kernel) * channels;
  const rows = new Float32Array(batch * count(out) * K);
  const at = (index: number, dims: readonly number[]): number[] =>
    dims.map((_, d) => Math.floor(index / count(dims.slice(d + 1))) % dims[d]!);
  let to = 0;
  for (let b = 0; b < batch; b++)
    for (let position = 0; position < count(out); position++)
      for (let tap = 0; tap < count(kernel); tap++)
        for (let c = 0; c < channels; c++, to++) {
          const [p, t] = [at(position, out), at(tap, kernel)];
          const place = p.map((own, d) => own * strides[d]! + t[d]! * dilations[d]! - before[d]!);
          if (place.some((own, d) => own < 0 || own >= spatial[d]!)) continue;
          const inside = place.reduce((sum, own, d) => sum * spatial[d]! + own, 0);
          rows[to] = x[(b * channels + c) * count(spatial) + inside]!;
        }
  return { rows, out, K };
}

/** Weights [outs, channels, taps] as [outs, taps · channels]. */
export function weightRows({ outs, channels, kernel }: ConvShape, w: Float32Array): Float32Array {
  const taps = count(kernel);
  return Float32Array.from(w, (_, i) => {
    const [n, k] = [Math.floor(i / (taps * channels)), i % (taps * channels)];
    return w[(n * channels + (k % channels)) * taps + Math.floor(k / channels)]!;
  }).subarray(0, outs * taps * channels);
}

/** [batch · positions, outs] as [batch, outs, positions]. */
export function imagesOf(values: Float64Array, positions: number, outs: number): Float64Array {
  const images = values.slice();
  for (let i = 0; i < values.length; i++) {
    const [b, p, n] = [Math.floor(i / (positions * outs)), Math.floor(i / outs) % positions, i % outs];
    images[(b * outs + n) * positions + p] = values[i]!;
  }
  return images;
}
