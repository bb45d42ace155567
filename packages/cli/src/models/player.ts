/**
 * Runs a model whatever its inputs are: ids, masks and positions by their names, caches as the run before left them, everything else
 * made up from a seed. For measuring; what it computes means nothing.
 */

import { random as seededRandom } from '@msd/core/numerics';
import type { InspectedValue } from '@msd/onnx/inspect';
import type { InferenceSession, Tensor, TypedTensor } from 'onnxruntime-web';
import { isPast, type RunSizes, sizesOf } from './sizes.ts';

type Data = Float32Array | Uint16Array | BigInt64Array | Int32Array | Uint8Array | Int8Array | Float64Array;
type TensorConstructor = new (type: Tensor.Type, data: Data, dims: readonly number[]) => TypedTensor<Tensor.Type>;

/** Where nothing says how many rows a table has, it has so many. */
const SAFE_ROWS = 4;

const ARRAYS: Readonly<Record<string, new (length: number) => Data>> = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

/** Of `past…` the output that becomes it in the next run; `undefined` if there is none. */
export function presentOf(past: string, outputs: readonly string[]): string | undefined {
  const names = [
    past.replace('past_key_values', 'present'),
    past.replace(/^past/, 'present'),
    past.replace(/past/, 'present'),
  ];
  return names.find((name) => name !== past && outputs.includes(name));
}

/** wall: what a user waits. cpu: what this process computed, where others take the cores. */
export type Clock = 'wall' | 'cpu';

/** Milliseconds since some moment. */
function now(clock: Clock): number {
  if (clock === 'wall') return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** A session with its cache. */
export class Player {
  readonly session: InferenceSession;
  readonly #inputs: readonly InspectedValue[];
  readonly #sizes: Omit<RunSizes, 'tokens' | 'past'>;
  readonly #Tensor: TensorConstructor;
  readonly #clock: Clock;
  readonly #random = seededRandom(1);
  /** What does not change between runs: images, what an encoder said, and prompts: other tokens would choose other experts. */
  readonly #kept = new Map<string, Tensor>();
  #past: Record<string, Tensor> = {};
  #length = 0;

  /** @param session becomes this object's */
  constructor(
    session: InferenceSession,
    inputs: readonly InspectedValue[],
    sizes: Omit<RunSizes, 'tokens' | 'past'>,
    tensor: unknown,
    clock: Clock = 'wall',
  ) {
    this.session = session;
    this.#inputs = inputs;
    this.#sizes = sizes;
    this.#Tensor = tensor as TensorConstructor;
    this.#clock = clock;
  }

  /** Does it go on where the last run ended? */
  get hasCache(): boolean {
    return this.#inputs.some((input) => this.#presentOf(input) !== undefined);
  }

  /** Forgets what earlier runs left. */
  reset(): void {
    for (const tensor of Object.values(this.#past)) tensor.dispose();
    this.#past = {};
    this.#length = 0;
  }

  /** A run of so many tokens. @returns milliseconds of it */
  async run(tokens: number): Promise<number> {
    const feeds: Record<string, Tensor> = {};
    const sizes = sizesOf(this.#inputs, { ...this.#sizes, tokens, past: this.#length });
    for (const input of this.#inputs) feeds[input.name] = this.#past[input.name] ?? this.#made(input, tokens, sizes);
    const start = now(this.#clock);
    const results = await this.session.run(feeds);
    const elapsedMs = now(this.#clock) - start;
    const isFirst = this.#length === 0;
    for (const input of this.#inputs) {
      const { name } = input;
      const present = this.#presentOf(input);
      // What an encoder left stays that of the first run: later ones give nothing, or the same.
      if (present === undefined || (!isFirst && /encoder/.test(name))) continue;
      if (this.#past[name] !== results[present]) this.#past[name]?.dispose();
      this.#past[name] = results[present]!;
    }
    const kept = new Set(Object.values(this.#past));
    for (const tensor of Object.values(results)) if (!kept.has(tensor)) tensor.dispose();
    if (this.hasCache) this.#length += tokens;
    return elapsedMs;
  }

  async release(): Promise<void> {
    this.reset();
    await this.session.release();
  }

  /** A past of a fixed size is no cache that grows. */
  #presentOf({ name, dims = [] }: InspectedValue): string | undefined {
    const isOpen = dims.some((dim) => typeof dim !== 'number');
    return isPast(name) && isOpen ? presentOf(name, this.session.outputNames) : undefined;
  }

  #made({ name, type, dims = [], rows }: InspectedValue, tokens: number, sizeOf: ReturnType<typeof sizesOf>): Tensor {
    const shape = dims.map((dim, axis) => (typeof dim === 'number' ? dim : sizeOf(name, axis, dim ?? '')));
    const key = `${name} ${shape.join()}`;
    const isKept = type.startsWith('float') || this.#length === 0;
    const known = isKept ? this.#kept.get(key) : undefined;
    if (known) return known;
    const count = shape.reduce((a, b) => a * b, 1);
    const Elements = ARRAYS[type];
    if (!Elements) throw new TypeError(`input ${name} is ${type}, expected one of ${Object.keys(ARRAYS).join(', ')}.`);
    const data = new Elements(count);
    const valueAt = this.#values(name, type, tokens, rows);
    for (let i = 0; i < count; i++) {
      const value = valueAt(i);
      if (data instanceof BigInt64Array) data[i] = BigInt(value);
      else data[i] = value;
    }
    const tensor = new this.#Tensor(type as Tensor.Type, data, shape);
    if (isKept) this.#kept.set(key, tensor);
    return tensor;
  }

  #values(name: string, type: string, tokens: number, rows: number | undefined): (i: number) => number {
    const random = this.#random;
    if (isPast(name)) return () => 0;
    if (type === 'float16') return () => 0x3000 + Math.floor(random() * 0x400); // 1/8 to 1/4
    if (type.startsWith('float')) return () => random() - 0.5;
    if (/mask/.test(name)) return () => 1;
    if (/position/.test(name)) return (i) => (this.#length + (i % tokens)) % (rows ?? Infinity);
    if (/token_type/.test(name)) return () => 0;
    if (name === 'use_cache_branch') return () => Number(this.#length > 0);
    if (type === 'bool' || /num_logits|length/.test(name)) return () => 1;
    return () => Math.floor(random() * (rows ?? SAFE_ROWS));
  }
}
