/** What a model is fed: ids, masks and positions by their names, empty caches, everything else from a file or a seed. */

import { random as seededRandom } from '@msd/core/numerics';
import type { InferenceSession, Tensor } from 'onnxruntime-web';
import { inputsOf } from '../models/inputs.ts';
import { isPast } from '../models/sizes.ts';
import { UserError } from '../shared/errors.ts';
import { type Feeds, runtime } from './engines.ts';
import type { NpyArray } from './npz.ts';

type Metadata = InferenceSession['inputMetadata'][number];

export interface FeedOptions {
  /** Tokens of the text; for models without any, how long what has no length is. */
  readonly ids: readonly number[];
  /** Texts of one length in `ids`, one behind the other. Default 1. */
  readonly texts?: number;
  /** Inputs by name. */
  readonly arrays?: ReadonlyMap<string, NpyArray> | undefined;
  /** Of what is made up. */
  readonly seed?: number | undefined;
}

/** Pixels of a side of an image. */
const IMAGE = 64;
/** Positions of what an encoder left. */
const ENCODER = 8;

const NEEDS_IDS = /input_ids$/;

/** Does a model read a text? */
export const readsText = (session: InferenceSession): boolean =>
  session.inputMetadata.some(({ name }) => NEEDS_IDS.test(name));

/** Feeds of a first run. */
export async function feedsOf(session: InferenceSession, options: FeedOptions): Promise<Feeds> {
  const { Tensor } = await runtime();
  const { ids, arrays, seed = 1, texts = 1 } = options;
  const length = ids.length / texts;
  const random = seededRandom(seed);
  const feeds: Record<string, Tensor> = {};
  for (const input of inputsOf(session)) {
    const { name } = input;
    if (!input.isTensor) throw new UserError(`Input ${name} is not a tensor, so msd cannot feed it.`);
    const array = arrays?.get(name);
    if (array) {
      feeds[name] = new Tensor(array.dtype, elementsOf(array) as never, array.dims) as Tensor;
      continue;
    }
    const dims = input.shape.map((dim, axis) =>
      typeof dim === 'number' && dim >= 0 ? dim : sizeOf(input, axis, length, texts),
    );
    const count = dims.reduce((product, dim) => product * dim, 1);
    const values = valuesOf(name, input.type, ids, length, random);
    feeds[name] = new Tensor(input.type, elements(input.type, count, values) as never, dims) as Tensor;
  }
  return feeds;
}

function sizeOf(input: Metadata & { readonly isTensor: true }, axis: number, tokens: number, texts: number): number {
  const { name, shape } = input;
  const said = String(shape[axis]);
  if (isPast(name) && axis === shape.length - 1 && /dim|size/i.test(said) && !/past|len/i.test(said))
    throw new UserError(
      `Input ${name}: the last of its sizes, ${said}, is open, so msd cannot make an empty cache. Pass one with --inputs FILE.npz.`,
    );
  if (isPast(name)) return axis === 0 ? texts : /encoder/.test(name) ? ENCODER : 0;
  if (shape.length === 1 && NEEDS_IDS.test(name)) return tokens;
  if (axis === 0 || /batch/i.test(said)) return texts;
  if (/encoder/.test(name)) return ENCODER;
  if (shape.length === 4) return axis === 1 ? 3 : IMAGE;
  return tokens;
}

function valuesOf(
  name: string,
  type: string,
  ids: readonly number[],
  length: number,
  random: () => number,
): (i: number) => number {
  if (isPast(name)) return () => 0;
  if (NEEDS_IDS.test(name)) return (i) => ids[i % ids.length]!;
  if (/mask/.test(name)) return () => 1;
  if (/position/.test(name)) return (i) => i % length;
  if (type.startsWith('float')) return () => 2 * random() - 1;
  return () => 0;
}

function elements(type: string, count: number, value: (i: number) => number): ArrayBufferView {
  if (type === 'int64') return BigInt64Array.from({ length: count }, (_, i) => BigInt(value(i)));
  if (type === 'int32') return Int32Array.from({ length: count }, (_, i) => value(i));
  if (type === 'float32') return Float32Array.from({ length: count }, (_, i) => value(i));
  if (type === 'float64') return Float64Array.from({ length: count }, (_, i) => value(i));
  if (type === 'bool' || type === 'uint8') return Uint8Array.from({ length: count }, (_, i) => value(i));
  if (type === 'int8') return Int8Array.from({ length: count }, (_, i) => value(i));
  if (type === 'float16') return halves(Uint16Array.from({ length: count }, (_, i) => halfOf(value(i))));
  throw new UserError(`msd cannot make up an input of type ${type}. Pass one with --inputs FILE.npz.`);
}

function elementsOf({ dtype, bytes }: NpyArray): ArrayBufferView {
  const { buffer } = bytes;
  switch (dtype) {
    case 'float32':
      return new Float32Array(buffer);
    case 'float64':
      return new Float64Array(buffer);
    case 'int64':
      return new BigInt64Array(buffer);
    case 'int32':
      return new Int32Array(buffer);
    case 'int8':
      return new Int8Array(buffer);
    case 'float16':
      return halves(new Uint16Array(buffer));
    default:
      return bytes;
  }
}

/** onnxruntime-web wants the engine's own array where there is one. */
function halves(bits: Uint16Array): ArrayBufferView {
  const Native = (globalThis as { readonly Float16Array?: new (buffer: ArrayBufferLike) => ArrayBufferView })
    .Float16Array;
  return Native ? new Native(bits.buffer) : bits;
}

/** Of numbers between −2 and 2, cut, not rounded: these are made up. */
function halfOf(value: number): number {
  const [word] = new Uint32Array(Float32Array.of(value).buffer) as unknown as [number];
  const magnitude = (word & 0x7fffffff) - 0x38000000;
  return ((word >>> 16) & 0x8000) | (magnitude < 0x800000 ? 0 : magnitude >>> 13);
}
