/** A decoder in an ONNX Runtime session: tokens in, logits of the next token out; its caches stay in here. */
import { type InferenceSession, Tensor } from 'onnxruntime-web';
import { inputsOf } from '../models/inputs.ts';
import { presentOf } from '../models/player.ts';
import { isPast } from '../models/sizes.ts';
import { UserError } from '../shared/errors.ts';
import { floatsOfTensor } from './floats.ts';

/** Turns ids into what the decoder is fed instead of them: `inputs_embeds`. */
export type Embed = (ids: readonly number[]) => Promise<Tensor>;

export interface DecoderOptions {
  /** Longest sequence, prompt included. */
  readonly context: number;
  /** For decoders without `input_ids`. */
  readonly embed?: Embed | undefined;
}

/** What the decoder of an encoder-decoder is fed in every run. */
export interface EncoderState {
  readonly hidden: Tensor;
  readonly mask: Tensor;
}

const IDS = /^(decoder_)?input_ids$/;
const KNOWN =
  /^(input_ids|decoder_input_ids|inputs_embeds|attention_mask|decoder_attention_mask|position_ids|token_type_ids|use_cache_branch|num_logits_to_keep|cache_position|encoder_hidden_states|encoder_attention_mask)$/;

/** Reads one sequence; `reset()` starts the next one. */
export class DecoderSession {
  readonly session: InferenceSession;
  readonly #context: number;
  readonly #embed: Embed | undefined;
  readonly #pasts: readonly InferenceSession.TensorValueMetadata[];
  readonly #shapes: ReadonlyMap<string, readonly (number | string)[]>;
  #past: Record<string, Tensor> = {};
  #encoder: EncoderState | undefined;
  #position = 0;

  /**
   * @param session becomes this object's
   * @throws {@link UserError} when the model's inputs are not those of a decoder with a cache
   */
  constructor(session: InferenceSession, { context, embed }: DecoderOptions) {
    this.session = session;
    this.#context = context;
    this.#embed = embed;
    const values = inputsOf(session).filter((value) => value.isTensor);
    this.#pasts = values.filter(({ name }) => isPast(name));
    this.#shapes = new Map(values.map(({ name, shape }) => [name, shape]));
    checkSignature(session, embed !== undefined);
    this.reset();
  }

  /** Tokens read so far. */
  get position(): number {
    return this.#position;
  }

  /** @param encoder what an encoder made of the sequence to answer */
  reset(encoder?: EncoderState): void {
    for (const tensor of Object.values(this.#past)) tensor.dispose();
    this.#encoder = encoder;
    this.#position = 0;
    this.#past = Object.fromEntries(this.#pasts.map((value) => [value.name, emptyTensor(value)]));
  }

  /**
   * Reads tokens.
   *
   * @returns logits [vocab] of the token after the last one.
   * @throws {@link RangeError} when the context is full.
   */
  async read(ids: readonly number[]): Promise<Float32Array> {
    const end = this.#position + ids.length;
    if (end > this.#context) {
      throw new RangeError(`DecoderSession: the context of ${this.#context} tokens is full. Call reset().`);
    }
    const feeds: Record<string, Tensor> = { ...this.#past };
    for (const name of this.session.inputNames) if (!feeds[name]) feeds[name] = await this.#feed(name, ids, end);
    const outputs = await this.session.run(feeds);
    const isFirst = this.#position === 0;
    for (const name of Object.keys(this.#past)) {
      // An encoder's keys and values stay those of the first run.
      if (!isFirst && this.#encoder && /encoder/.test(name)) continue;
      const present = outputs[presentOf(name, this.session.outputNames)!]!;
      if (present !== this.#past[name]) this.#past[name]!.dispose();
      this.#past[name] = present;
    }
    this.#position = end;
    const { logits } = outputs;
    return floatsOfTensor(logits!).subarray(-logits!.dims.at(-1)!);
  }

  async #feed(name: string, ids: readonly number[], end: number): Promise<Tensor> {
    if (name === 'inputs_embeds') return this.#embed!(ids);
    if (name === 'encoder_hidden_states') return this.#encoder!.hidden;
    if (name === 'encoder_attention_mask') return this.#encoder!.mask;
    if (name === 'use_cache_branch') return new Tensor('bool', [this.#position > 0], [1]);
    if (name === 'num_logits_to_keep') return new Tensor('int64', [1n], []);
    const now = (from: number): number[] => ids.map((_, i) => from + i);
    if (IDS.test(name)) return integers(ids, [1, ids.length]);
    if (/mask/.test(name)) return integers(new Array<number>(end).fill(1), [1, end]);
    if (name === 'cache_position') return integers(now(this.#position), [ids.length]);
    if (name === 'token_type_ids') return integers(new Array<number>(ids.length).fill(0), [1, ids.length]);
    // One line of positions, or three: of time, height and width, which are the same for text.
    const lines = this.#shapes.get(name)?.length === 3 ? 3 : 1;
    const positions = Array.from({ length: lines }, () => now(this.#position)).flat();
    return integers(positions, lines === 3 ? [3, 1, ids.length] : [1, ids.length]);
  }

  async release(): Promise<void> {
    this.reset();
    await this.session.release();
  }
}

function integers(values: readonly number[], dims: readonly number[]): Tensor {
  return new Tensor('int64', BigInt64Array.from(values, BigInt), dims);
}

/** Open sizes are 0 before anything was read, but for the batch. */
function emptyTensor({ name, type, shape }: InferenceSession.TensorValueMetadata): Tensor {
  const dims = shape.map((size) => (typeof size === 'number' ? size : /batch/.test(size) ? 1 : 0));
  const count = dims.reduce((a, b) => a * b, 1);
  if (type === 'float32') return new Tensor('float32', new Float32Array(count), dims);
  if (type === 'float16') return new Tensor('float16', new Uint16Array(count), dims);
  if (type === 'int8') return new Tensor('int8', new Int8Array(count), dims);
  if (type === 'uint8') return new Tensor('uint8', new Uint8Array(count), dims);
  throw new UserError(`model: ${name} expected floats or 8-bit integers, got ${type}. Choose another --dtype.`);
}

function checkSignature({ inputNames, outputNames }: InferenceSession, canEmbed: boolean): void {
  const pasts = inputNames.filter(isPast);
  const missing = [
    ...(inputNames.some((name) => IDS.test(name) || (name === 'inputs_embeds' && canEmbed)) ? [] : ['input_ids']),
    ...(pasts.length > 0 ? [] : ['past_key_values.N.key|value']),
    ...[
      'logits',
      ...pasts.map((name) => presentOf(name, outputNames) ?? name.replace(/^past(_key_values)?/, 'present')),
    ].filter((name) => !outputNames.includes(name)),
  ];
  const unknown = inputNames.filter((name) => !isPast(name) && !KNOWN.test(name));
  if (missing.length === 0 && unknown.length === 0) return;
  throw new UserError(
    'model: expected a decoder with input_ids, past_key_values.N.key|value, logits and present.N.key|value; ' +
      `missing: ${missing.join(', ') || 'nothing'}; unknown: ${unknown.join(', ') || 'nothing'}. Use msd inspect to see what it is.`,
  );
}
