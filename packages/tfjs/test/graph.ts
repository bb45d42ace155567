/** Graph models written down in tests: nodes and weights -> artifacts, as converters make them. */
import type { GraphModel } from '@tensorflow/tfjs-converter';
import type { io } from '@tensorflow/tfjs-core';
import { gaussian, tf } from './tf.ts';

export interface WeightEntry {
  readonly name: string;
  readonly shape: number[];
  readonly values: Float32Array | Int32Array;
  /** Stored form of float weights. */
  readonly stored?: 'uint8' | 'uint16' | 'float16';
}

/** A weight in the stored form itself, whatever a converter would have made of it. */
export interface CodedEntry {
  readonly name: string;
  readonly shape: number[];
  readonly codes: Uint8Array | Uint16Array;
  readonly quantization: { readonly dtype: string; readonly scale?: number; readonly min?: number };
}

export interface NodeEntry {
  readonly name: string;
  readonly op: string;
  readonly input?: string[];
  readonly attr?: Record<string, unknown>;
}

export const b64 = (text: string) => ({ s: btoa(text) });
export const FLOAT = { type: 'DT_FLOAT' };

/** Seeded weights. */
export const floats = (name: string, shape: number[], stored?: WeightEntry['stored'], seed = 1): WeightEntry => ({
  name,
  shape,
  values: gaussian(
    seed + name.length * 7,
    shape.reduce((a, b) => a * b, 1),
  ).map((value) => value / 8),
  ...(stored && { stored }),
});

export const ints = (name: string, values: number[], shape = [values.length]): WeightEntry => ({
  name,
  shape,
  values: Int32Array.from(values),
});

export const placeholder = (name: string, type = 'DT_FLOAT'): NodeEntry => ({
  name,
  op: 'Placeholder',
  attr: { dtype: { type }, shape: { shape: { unknownRank: true } } },
});

export interface GraphEntry {
  readonly nodes: readonly NodeEntry[];
  readonly weights: readonly (WeightEntry | CodedEntry)[];
  readonly functions?: readonly object[];
  /** Names of outputs; without them the model has no signature. */
  readonly outputs?: readonly string[];
}

export function artifactsOf({ nodes, weights, functions, outputs }: GraphEntry): io.ModelArtifacts {
  const constants = weights
    .filter(({ name }) => !nodes.some((node) => node.name === name))
    .map((weight): NodeEntry => {
      const type = 'values' in weight && weight.values instanceof Int32Array ? 'DT_INT32' : 'DT_FLOAT';
      return { name: weight.name, op: 'Const', attr: { dtype: { type } } };
    });
  const encoded = weights.map(encodeWeight);
  const inputs = nodes
    .filter(({ op }) => op === 'Placeholder')
    .map(({ name }) => [name, { name: `${name}:0`, dtype: 'DT_FLOAT' }]);
  return {
    format: 'graph-model',
    modelTopology: {
      node: [...constants, ...nodes],
      versions: { producer: 1, minConsumer: 1 },
      ...(functions && { library: { function: functions } }),
    } as never,
    ...(outputs && {
      signature: {
        inputs: Object.fromEntries(inputs),
        outputs: Object.fromEntries(outputs.map((name) => [name, { name: `${name}:0`, dtype: 'DT_FLOAT' }])),
      },
    }),
    weightSpecs: encoded.map(({ spec }) => spec),
    weightData: join(encoded.map(({ bytes }) => bytes)),
  };
}

export const handlerOf = (artifacts: io.ModelArtifacts): io.IOHandler => ({ load: async () => artifacts });

export function join(parts: readonly Uint8Array[]): ArrayBuffer {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out.buffer;
}

/** What the converter's quantization writes: a range that is nudged so that zero is one of its levels. */
export function encodeWeight(weight: WeightEntry | CodedEntry): { spec: io.WeightsManifestEntry; bytes: Uint8Array } {
  const { name, shape } = weight;
  if ('codes' in weight) {
    const { codes, quantization } = weight;
    return { spec: { name, shape, dtype: 'float32', quantization: quantization as never }, bytes: bytesOf(codes) };
  }
  const { values, stored } = weight;
  if (values instanceof Int32Array) return { spec: { name, shape, dtype: 'int32' }, bytes: bytesOf(values) };
  if (!stored) return { spec: { name, shape, dtype: 'float32' }, bytes: bytesOf(values) };
  if (stored === 'float16') {
    const codes = Uint16Array.from(values, toFloat16);
    return {
      spec: { name, shape, dtype: 'float32', quantization: { dtype: 'float16' } as never },
      bytes: bytesOf(codes),
    };
  }
  const levels = stored === 'uint8' ? 255 : 65535;
  const [low, high] = [Math.min(...values, 0), Math.max(...values, 0)];
  const scale = (high - low) / levels;
  const zero = Math.round(-low / scale);
  const min = -zero * scale;
  const Codes = stored === 'uint8' ? Uint8Array : Uint16Array;
  const levelOf = (value: number) => Math.max(0, Math.min(levels, Math.round((value - min) / scale)));
  const codes = new Codes(Array.from(values, levelOf));
  return {
    spec: { name, shape, dtype: 'float32', quantization: { dtype: stored, scale, min } },
    bytes: bytesOf(codes),
  };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength).slice();

/** Nearest fp16 of a normal value. */
function toFloat16(value: number): number {
  if (value === 0) return 0;
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(value))));
  const steps = Math.round(Math.abs(value) / 2 ** (exponent - 10));
  return (value < 0 ? 0x8000 : 0) | (steps + ((exponent + 14) << 10));
}

/** What a graph model saves. */
export async function savedGraph(model: GraphModel): Promise<io.ModelArtifacts> {
  let artifacts: io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (given) => {
      artifacts = given;
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
    }),
  );
  return artifacts!;
}
