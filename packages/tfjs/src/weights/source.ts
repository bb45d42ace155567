/** Values of a model's constants, wherever they come from: a file in its stored form, or tensors of a loaded model. */
import { fromFp16 } from '@msd/core';
import type { Encoded } from './encode.ts';
import { byteLengthOf, type StoredWeight, type WeightSpec } from './manifest.ts';

/** Integers of a manifest: real = scale · code + min. */
export type StoredCodes =
  | { readonly kind: 'uint8'; readonly values: Uint8Array; readonly scale: number; readonly min: number }
  | { readonly kind: 'uint16'; readonly values: Uint16Array; readonly scale: number; readonly min: number };

/** Values in the form that they are stored in. */
export type StoredValues = (
  | StoredCodes
  | { readonly kind: 'float32'; readonly values: Float32Array }
  | { readonly kind: 'float16'; readonly values: Uint16Array }
) & {
  /** While a file arrives: where what they become is kept, and looked for. The values may be gone then. */
  readonly weight?: { encoded?: Encoded | { readonly reason: string } | undefined };
};

export interface Constant {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  /** Stored bytes, for the report. */
  readonly byteLength: number;
  /** A tensor of a loaded model: its integers, if there are any, are found again. */
  readonly isLoaded?: boolean;
  /** Of a float32 constant. */
  stored(): StoredValues;
  /** Of a small int32 constant: axes, shapes. */
  integers(): Int32Array;
}

export type Constants = ReadonlyMap<string, Constant>;

/** A constant of a file. */
export function fileConstant(weight: StoredWeight): Constant {
  const { spec } = weight;
  const bytes = () => weight.bytes();
  const { name, shape, dtype, quantization } = spec;
  return {
    name,
    shape,
    dtype,
    byteLength: byteLengthOf(spec),
    stored() {
      const { buffer } = bytes();
      const { scale, min } = levelsOf(spec);
      const kept = 'encoded' in weight ? { weight } : {};
      switch (quantization?.dtype) {
        case 'uint8':
          return { kind: 'uint8', values: new Uint8Array(buffer), scale, min, ...kept };
        case 'uint16':
          return { kind: 'uint16', values: new Uint16Array(buffer), scale, min, ...kept };
        case 'float16':
          return { kind: 'float16', values: new Uint16Array(buffer), ...kept };
        default:
          return { kind: 'float32', values: new Float32Array(buffer), ...kept };
      }
    },
    integers: () => {
      const { buffer } = bytes();
      if (!quantization) return new Int32Array(buffer);
      const codes = quantization.dtype === 'uint8' ? new Uint8Array(buffer) : new Uint16Array(buffer);
      const { scale, min } = levelsOf(spec);
      return Int32Array.from(codes, (code) => Math.round(code * scale + min));
    },
  };
}

/** As tfjs reads them: null counts as 0. */
function levelsOf({ quantization }: WeightSpec): { readonly scale: number; readonly min: number } {
  const { scale = 1, min = 0 } = quantization ?? {};
  return { scale: scale ?? 0, min: min ?? 0 };
}

/** The real values that tfjs would decode. */
export function floatsOf(stored: StoredValues): Float32Array {
  if (stored.kind === 'float32') return stored.values;
  const { values } = stored;
  const out = new Float32Array(values.length);
  if (stored.kind === 'float16') for (let i = 0; i < out.length; i++) out[i] = fromFp16(values[i]!);
  else for (let i = 0; i < out.length; i++) out[i] = values[i]! * stored.scale + stored.min;
  return out;
}

/** Smallest and largest code. */
export function codesInUse(codes: Uint8Array | Uint16Array): { readonly low: number; readonly high: number } {
  let [low, high] = [codes[0] ?? 0, 0];
  for (const code of codes) {
    if (code < low) low = code;
    if (code > high) high = code;
  }
  return { low, high };
}
