/**
 * Weights while their file arrives. Now and then the model is rewritten with what is there: weights that become integers are kept as
 * those, and the bytes that they came as are let go.
 */
import { ModelFormatError, shown } from '../errors.ts';
import type { Encoded } from '../weights/encode.ts';
import { byteLengthOf, checkSpecs, type StoredWeight, type WeightSpec } from '../weights/manifest.ts';

type Outcome = Encoded | { readonly reason: string };

const PENDING: Outcome = { reason: 'has not arrived yet' };
const NOTHING = new Uint8Array(0);

/** A weight that is to come, is there, or was packed and let go. */
export class ArrivingWeight implements StoredWeight {
  readonly spec: WeightSpec;
  /** What it became when it was tried, or that it cannot be tried yet. */
  encoded: Outcome | undefined = PENDING;
  #bytes: Uint8Array<ArrayBuffer> = NOTHING;

  constructor(spec: WeightSpec) {
    this.spec = spec;
  }

  readonly bytes = (): Uint8Array<ArrayBuffer> => this.#bytes;

  arrive(bytes: Uint8Array<ArrayBuffer>): void {
    this.#bytes = bytes;
    this.encoded = undefined;
  }

  /** Of what became integers these are all that is needed; what an older version packed is repacked from its bytes. */
  letGo(): void {
    if (this.encoded && 'packed' in this.encoded) this.#bytes = NOTHING;
  }

  /** Bytes that it takes now. */
  get held(): number {
    const { encoded } = this;
    return this.#bytes.byteLength + (encoded && 'packed' in encoded ? encoded.packed.data.byteLength : 0);
  }
}

/** A try costs a walk over the model: bytes that are worth it, and at most that many tries. */
const [WORTH, TRIES] = [2 ** 20, 32];

/**
 * @param rewrite rewrites the model with the weights that are there; returns the names of those that became integers
 * @param onProgress of the bytes, from 0 to 1
 * @returns the weights by name, and the most bytes of weights that were there at once
 */
export async function receive(
  specs: unknown,
  chunks: AsyncIterable<Uint8Array>,
  rewrite: (stored: ReadonlyMap<string, StoredWeight>) => Iterable<string>,
  { onProgress, signal }: { onProgress?: (fraction: number) => void; signal?: AbortSignal | null | undefined },
): Promise<{ stored: Map<string, StoredWeight>; peakBytes: number }> {
  const checked = checkSpecs(specs);
  const stored = new Map(checked.map((spec) => [spec.name, new ArrivingWeight(spec)]));
  const total = checked.reduce((sum, spec) => sum + (spec.dtype === 'string' ? 0 : byteLengthOf(spec)), 0);
  const worth = Math.max(WORTH, total / TRIES);
  const reader = new ByteReader(chunks, (received) => onProgress?.(Math.min(1, received / Math.max(1, total))));
  let [peakBytes, untried] = [0, 0];
  const held = () => [...stored.values()].reduce((sum, weight) => sum + weight.held, 0);
  const attempt = () => {
    untried = 0;
    const names = [...tried(rewrite, stored)];
    peakBytes = Math.max(peakBytes, held());
    for (const name of names) stored.get(name)!.letGo();
  };
  try {
    for (const spec of checked) {
      const bytes = spec.dtype === 'string' ? await reader.strings(spec) : await reader.read(byteLengthOf(spec), spec);
      signal?.throwIfAborted();
      stored.get(spec.name)!.arrive(bytes);
      untried += bytes.byteLength;
      peakBytes = Math.max(peakBytes, held());
      if (untried >= worth) attempt();
    }
    onProgress?.(1);
  } finally {
    await reader.close();
  }
  attempt();
  return { stored, peakBytes };
}

/** With only a part of the weights there may be errors that the whole does not have; those of the whole are told at the end. */
function tried(
  rewrite: (stored: ReadonlyMap<string, StoredWeight>) => Iterable<string>,
  stored: ReadonlyMap<string, StoredWeight>,
): Iterable<string> {
  try {
    return rewrite(stored);
  } catch {
    return [];
  }
}

/** Bytes of chunks, by the number. */
class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #onBytes: (received: number) => void;
  #chunk = NOTHING as Uint8Array;
  #received = 0;

  constructor(chunks: AsyncIterable<Uint8Array>, onBytes: (received: number) => void) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#onBytes = onBytes;
  }

  async read(length: number, { name, shape }: WeightSpec): Promise<Uint8Array<ArrayBuffer>> {
    let out: Uint8Array<ArrayBuffer>;
    try {
      out = new Uint8Array(length);
    } catch (cause) {
      throw new ModelFormatError(`weights: ${shown(name)} ${shown(shape)} is larger than memory.`, { cause });
    }
    for (let at = 0; at < length; ) {
      if (this.#chunk.byteLength === 0 && !(await this.#next()))
        throw new ModelFormatError(
          `weights: ${shown(name)} ${shown(shape)}, expected ${length} bytes, got ${at}. Are they truncated?`,
        );
      const part = this.#chunk.subarray(0, length - at);
      out.set(part, at);
      at += part.byteLength;
      this.#chunk = this.#chunk.subarray(part.byteLength);
    }
    return out;
  }

  /** Each with its length of 4 bytes in front. */
  async strings(spec: WeightSpec): Promise<Uint8Array<ArrayBuffer>> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for (let i = spec.shape.reduce((product, dim) => product * dim, 1); i > 0; i--) {
      const length = await this.read(4, spec);
      parts.push(length, await this.read(new DataView(length.buffer).getUint32(0, true), spec));
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  async #next(): Promise<boolean> {
    for (;;) {
      const { done, value } = await this.#chunks.next();
      if (done) return false;
      this.#chunk = ArrayBuffer.isView(value) ? value : new Uint8Array(value);
      this.#received += this.#chunk.byteLength;
      this.#onBytes(this.#received);
      if (this.#chunk.byteLength > 0) return true;
    }
  }
}
