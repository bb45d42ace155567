/** A decoder in an ONNX Runtime session: tokens in, logits of the next token out; the KV cache stays in here. */
import { type InferenceSession, Tensor } from 'onnxruntime-web';
import type { DecoderConfig } from './model-folder.ts';
import { UserError } from './user-error.ts';

/** Reads one sequence; `reset()` starts the next one. */
export class DecoderSession {
  readonly session: InferenceSession;
  readonly #config: DecoderConfig;
  readonly #takesPositions: boolean;
  /** past_key_values.N.key|value, f32 [1, kvHeads, position, headDim]. */
  #past: Record<string, Tensor> = {};
  #position = 0;

  /**
   * @param session becomes this object's
   * @throws {@link UserError} when the model's inputs are not those of a decoder with a float32 KV cache
   */
  constructor(session: InferenceSession, config: DecoderConfig) {
    checkSignature(session, config);
    this.session = session;
    this.#config = config;
    this.#takesPositions = session.inputNames.includes('position_ids');
    this.reset();
  }

  /** Tokens read so far. */
  get position(): number {
    return this.#position;
  }

  reset(): void {
    const { layers, kvHeads, headDim } = this.#config;
    this.#position = 0;
    this.#past = {};
    for (const name of cacheNames('past_key_values', layers)) {
      this.#past[name] = new Tensor('float32', new Float32Array(0), [1, kvHeads, 0, headDim]);
    }
  }

  /**
   * Reads tokens.
   *
   * @returns logits [vocab] of the token after the last one.
   * @throws {@link RangeError} when the context is full.
   */
  async read(ids: readonly number[]): Promise<Float32Array> {
    const end = this.#position + ids.length;
    if (end > this.#config.context) {
      throw new RangeError(`DecoderSession: the context of ${this.#config.context} tokens is full. Call reset().`);
    }
    const feeds: Record<string, Tensor> = {
      input_ids: new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
      attention_mask: new Tensor('int64', new BigInt64Array(end).fill(1n), [1, end]),
      ...this.#past,
    };
    if (this.#takesPositions) {
      const positions = BigInt64Array.from(ids, (_, i) => BigInt(this.#position + i));
      feeds.position_ids = new Tensor('int64', positions, [1, ids.length]);
    }
    const outputs = await this.session.run(feeds);
    for (const name of Object.keys(this.#past)) {
      this.#past[name] = outputs[name.replace('past_key_values', 'present')] as Tensor;
    }
    this.#position = end;
    const logits = outputs.logits as Tensor;
    return (logits.data as Float32Array).subarray(-(logits.dims.at(-1) as number));
  }

  async release(): Promise<void> {
    await this.session.release();
  }
}

function cacheNames(prefix: string, layers: number): string[] {
  return Array.from({ length: layers }, (_, layer) => [`${prefix}.${layer}.key`, `${prefix}.${layer}.value`]).flat();
}

function checkSignature(session: InferenceSession, { layers, kvHeads, headDim }: DecoderConfig): void {
  const { inputNames, outputNames, inputMetadata } = session;
  const past = cacheNames('past_key_values', layers);
  const expected = ['input_ids', 'attention_mask', ...past];
  const missing = [
    ...expected.filter((name) => !inputNames.includes(name)),
    ...['logits', ...cacheNames('present', layers)].filter((name) => !outputNames.includes(name)),
  ];
  const unknown = inputNames.filter((name) => !expected.includes(name) && name !== 'position_ids');
  if (missing.length > 0 || unknown.length > 0) {
    throw new UserError(
      'model: expected a decoder with input_ids, attention_mask, past_key_values.N.key|value, logits and present.N.key|value ' +
        `for ${layers} layers; missing: ${missing.join(', ') || 'nothing'}; unknown: ${unknown.join(', ') || 'nothing'}.`,
    );
  }
  for (const value of inputMetadata) {
    if (!past.includes(value.name) || !value.isTensor) continue;
    if (value.type !== 'float32') {
      throw new UserError(`model: ${value.name} expected float32, got ${value.type}. Choose another --dtype.`);
    }
    const [, heads = kvHeads, , width = headDim] = value.shape;
    if ((typeof heads === 'number' && heads !== kvHeads) || (typeof width === 'number' && width !== headDim)) {
      throw new UserError(
        `model: ${value.name} has ${heads} heads of ${width}, config.json says ${kvHeads} of ${headDim}. Do they belong together?`,
      );
    }
  }
}
