/** Reads tokens with a decoder's session, from a cache of any length that holds random keys and values. */
import type * as Ort from 'onnxruntime-web';
import type { DecoderShape } from '../models/decoder.ts';
import { gaussian } from '../models/random.ts';
import type { Side } from './sides.ts';

/** Data of a cache, which the sides share: by input name. */
export type Cache = ReadonlyMap<string, Float32Array>;

export function randomCache({ layers, kvHeads, headDim }: DecoderShape, past: number): Cache {
  const length = kvHeads * past * headDim;
  const names = Array.from({ length: layers }, (_, layer) => ['key', 'value'].map((part) => `${layer}.${part}`)).flat();
  return new Map(names.map((name, i) => [`past_key_values.${name}`, gaussian(length, 100 + i)]));
}

export class Reader {
  readonly #side: Pick<Side, 'ort'>;
  readonly #session: Ort.InferenceSession;
  readonly #past: Record<string, Ort.Tensor>;
  #position: number;
  /** Is the past of this reader alone: nobody else goes on from it? */
  #isOwn = false;

  private constructor(
    side: Pick<Side, 'ort'>,
    session: Ort.InferenceSession,
    past: Record<string, Ort.Tensor>,
    position: number,
  ) {
    this.#side = side;
    this.#session = session;
    this.#past = past;
    this.#position = position;
  }

  /** From a cache of the caller's own. */
  static from(
    side: Pick<Side, 'ort'>,
    session: Ort.InferenceSession,
    { kvHeads, headDim }: DecoderShape,
    cache: Cache,
  ): Reader {
    const past: Record<string, Ort.Tensor> = {};
    let position = 0;
    for (const [name, data] of cache) {
      position = data.length / (kvHeads * headDim);
      past[name] = new side.ort.Tensor('float32', data, [1, kvHeads, position, headDim]);
    }
    return new Reader(side, session, past, position);
  }

  /** Another one that goes on from here; this one has to stay where it is. */
  fork(): Reader {
    return new Reader(this.#side, this.#session, { ...this.#past }, this.#position);
  }

  /** Lets go of what it read, but not of what it was forked from: that may be gone on from without a copy then. */
  dispose(): void {
    if (this.#isOwn) for (const tensor of Object.values(this.#past)) tensor.dispose();
    this.#isOwn = false;
  }

  /** @returns logits of the last token [vocabulary]; what came out as `present` is the past of the next call */
  async read(ids: readonly number[]): Promise<Float32Array> {
    const { Tensor } = this.#side.ort;
    const end = this.#position + ids.length;
    const outputs = await this.#session.run({
      input_ids: new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
      attention_mask: new Tensor('int64', new BigInt64Array(end).fill(1n), [1, end]),
      ...this.#past,
    });
    this.dispose();
    for (const name of Object.keys(this.#past))
      this.#past[name] = outputs[name.replace('past_key_values', 'present')] as Ort.Tensor;
    this.#isOwn = true;
    this.#position = end;
    const logits = outputs.logits!;
    return ((await logits.getData()) as Float32Array).subarray(-logits.dims.at(-1)!);
  }
}

/** So many token ids, the same every time. */
export const tokens = (count: number, vocabulary: number): number[] =>
  Array.from({ length: count }, (_, i) => (i * 7919 + 13) % vocabulary);
