/**
 * A generated Llama-style decoder as GGUF (version 3), with the layer shapes of Qwen2.5-0.5B and a vocabulary of bytes:
 * q4_0 or q8_0 matrices of random codes, norms of ones.
 */
import { toFp16 } from '../../../packages/core/src/formats/fp16.ts';
import { generator } from './random.ts';

export const GGUF_WEIGHTS = ['q4_0', 'q8_0'] as const;
export type GgufWeights = (typeof GGUF_WEIGHTS)[number];

export const LLAMA = { hidden: 896, feedForward: 4864, heads: 14, kvHeads: 2, layers: 6, context: 256 };
const HEAD_SIZE = LLAMA.hidden / LLAMA.heads;
const BLOCK = 32;
const ALIGNMENT = 32;

/** ggml_type */
const GGML_TYPE = { f32: 0, q4_0: 2, q8_0: 8 } as const;
/** Bytes of a block: an fp16 scale and its codes. */
const BLOCK_BYTES: Record<GgufWeights, number> = { q4_0: 2 + 16, q8_0: 2 + 32 };
/** gguf_metadata_value_type */
const VALUE_TYPE = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 } as const;
/** llama_token_type */
const TOKEN = { normal: 1, unknown: 2, control: 3, byte: 6 };

/** <unk> <s> </s>, 256 bytes, then letters and the space mark, so that a prompt of letters has a token per letter. */
const VOCABULARY: readonly { text: string; type: number }[] = [
  { text: '<unk>', type: TOKEN.unknown },
  { text: '<s>', type: TOKEN.control },
  { text: '</s>', type: TOKEN.control },
  ...Array.from({ length: 256 }, (_, byte) => ({
    text: `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
    type: TOKEN.byte,
  })),
  ...[...'▁abcdefghijklmnopqrstuvwxyz'].map((text) => ({ text, type: TOKEN.normal })),
];

interface Tensor {
  readonly name: string;
  /** [K, N]: GGUF names the innermost dimension first. */
  readonly dims: readonly number[];
  readonly type: keyof typeof GGML_TYPE;
}

/** The linear layers of one decoder layer, K and N. */
export const LLAMA_LAYER: readonly { name: string; K: number; N: number }[] = [
  { name: 'attn_q', K: LLAMA.hidden, N: LLAMA.hidden },
  { name: 'attn_k', K: LLAMA.hidden, N: LLAMA.kvHeads * HEAD_SIZE },
  { name: 'attn_v', K: LLAMA.hidden, N: LLAMA.kvHeads * HEAD_SIZE },
  { name: 'attn_output', K: LLAMA.hidden, N: LLAMA.hidden },
  { name: 'ffn_gate', K: LLAMA.hidden, N: LLAMA.feedForward },
  { name: 'ffn_up', K: LLAMA.hidden, N: LLAMA.feedForward },
  { name: 'ffn_down', K: LLAMA.feedForward, N: LLAMA.hidden },
];

/** Multiply-accumulates of the linear layers for one token; attention and the small output matrix do not count. */
export const llamaMacsPerToken = (): number => LLAMA.layers * LLAMA_LAYER.reduce((sum, { K, N }) => sum + K * N, 0);

/** Little-endian bytes that grow. */
class Bytes {
  #data = new DataView(new ArrayBuffer(1 << 16));
  length = 0;

  #reserve(bytes: number): number {
    const at = this.length;
    this.length += bytes;
    if (this.length > this.#data.byteLength) {
      const grown = new Uint8Array(2 * this.length);
      grown.set(new Uint8Array(this.#data.buffer));
      this.#data = new DataView(grown.buffer);
    }
    return at;
  }
  u32(value: number): this {
    const at = this.#reserve(4);
    this.#data.setUint32(at, value, true);
    return this;
  }
  f32(value: number): this {
    const at = this.#reserve(4);
    this.#data.setFloat32(at, value, true);
    return this;
  }
  u64(value: number): this {
    const at = this.#reserve(8);
    this.#data.setBigUint64(at, BigInt(value), true);
    return this;
  }
  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    this.u64(bytes.length);
    const at = this.#reserve(bytes.length);
    new Uint8Array(this.#data.buffer).set(bytes, at);
    return this;
  }
  pad(alignment: number): this {
    this.#reserve((alignment - (this.length % alignment)) % alignment);
    return this;
  }
  bytes(): Uint8Array {
    return new Uint8Array(this.#data.buffer, 0, this.length);
  }
}

function metadata(out: Bytes): number {
  let count = 0;
  const key = (name: string, type: number): Bytes => {
    count++;
    return out.text(name).u32(type);
  };
  const uint = (name: string, value: number) => key(name, VALUE_TYPE.uint32).u32(value);
  const float = (name: string, value: number) => key(name, VALUE_TYPE.float32).f32(value);
  const text = (name: string, value: string) => key(name, VALUE_TYPE.string).text(value);
  const list = (name: string, type: number, length: number) => key(name, VALUE_TYPE.array).u32(type).u64(length);

  text('general.architecture', 'llama');
  text('general.name', 'generated');
  uint('general.alignment', ALIGNMENT);
  uint('llama.vocab_size', VOCABULARY.length);
  uint('llama.context_length', LLAMA.context);
  uint('llama.embedding_length', LLAMA.hidden);
  uint('llama.block_count', LLAMA.layers);
  uint('llama.feed_forward_length', LLAMA.feedForward);
  uint('llama.rope.dimension_count', HEAD_SIZE);
  uint('llama.attention.head_count', LLAMA.heads);
  uint('llama.attention.head_count_kv', LLAMA.kvHeads);
  float('llama.attention.layer_norm_rms_epsilon', 1e-5);
  text('tokenizer.ggml.model', 'llama');
  const tokens = list('tokenizer.ggml.tokens', VALUE_TYPE.string, VOCABULARY.length);
  for (const token of VOCABULARY) tokens.text(token.text);
  const scores = list('tokenizer.ggml.scores', VALUE_TYPE.float32, VOCABULARY.length);
  for (const _ of VOCABULARY) scores.f32(0);
  const types = list('tokenizer.ggml.token_type', VALUE_TYPE.int32, VOCABULARY.length);
  for (const token of VOCABULARY) types.u32(token.type);
  uint('tokenizer.ggml.unknown_token_id', 0);
  uint('tokenizer.ggml.bos_token_id', 1);
  uint('tokenizer.ggml.eos_token_id', 2);
  return count;
}

function tensorList(weights: GgufWeights): Tensor[] {
  const { hidden, layers } = LLAMA;
  const norm = (name: string): Tensor => ({ name, dims: [hidden], type: 'f32' });
  return [
    { name: 'token_embd.weight', dims: [hidden, VOCABULARY.length], type: weights },
    ...Array.from({ length: layers }, (_, i) => [
      norm(`blk.${i}.attn_norm.weight`),
      norm(`blk.${i}.ffn_norm.weight`),
      ...LLAMA_LAYER.map(
        ({ name, K, N }): Tensor => ({ name: `blk.${i}.${name}.weight`, dims: [K, N], type: weights }),
      ),
    ]).flat(),
    norm('output_norm.weight'),
    { name: 'output.weight', dims: [hidden, VOCABULARY.length], type: weights },
  ];
}

const elements = ({ dims }: Tensor): number => dims.reduce((product, dim) => product * dim, 1);
const byteLength = (tensor: Tensor): number =>
  tensor.type === 'f32' ? 4 * elements(tensor) : (elements(tensor) / BLOCK) * BLOCK_BYTES[tensor.type];

/** @returns the file's bytes, about 50 MB (q4_0) or 95 MB (q8_0) */
export function ggufDecoder(weights: GgufWeights): Uint8Array<ArrayBuffer> {
  const tensors = tensorList(weights);
  const infos = new Bytes();
  const offsets: number[] = [];
  let offset = 0;
  for (const tensor of tensors) {
    infos.text(tensor.name).u32(tensor.dims.length);
    for (const dim of tensor.dims) infos.u64(dim);
    infos.u32(GGML_TYPE[tensor.type]).u64(offset);
    offsets.push(offset);
    offset += Math.ceil(byteLength(tensor) / ALIGNMENT) * ALIGNMENT;
  }
  const pairs = new Bytes();
  const count = metadata(pairs);
  const header = new Bytes().u32(0x46554747).u32(3).u64(tensors.length).u64(count); // "GGUF"
  const dataAt = Math.ceil((header.length + pairs.length + infos.length) / ALIGNMENT) * ALIGNMENT;
  const file = new Uint8Array(dataAt + offset);
  file.set(header.bytes(), 0);
  file.set(pairs.bytes(), header.length);
  file.set(infos.bytes(), header.length + pairs.length);
  const random = generator(1);
  const words = Uint32Array.from({ length: 4096 }, () => random() * 2 ** 32);
  const noise = new Uint8Array(words.buffer);
  for (const [i, tensor] of tensors.entries()) fill(file, dataAt + offsets[i]!, tensor, noise);
  return file;
}

function fill(file: Uint8Array, at: number, tensor: Tensor, noise: Uint8Array): void {
  if (tensor.type === 'f32') {
    new Float32Array(file.buffer, at, elements(tensor)).fill(1);
    return;
  }
  const blockBytes = BLOCK_BYTES[tensor.type];
  // Codes of ±8 or ±128 with this scale have a variance of about 1/K.
  const scale = toFp16((tensor.type === 'q4_0' ? 0.2 : 0.0135) / Math.sqrt(tensor.dims[0]!));
  const blocks = elements(tensor) / BLOCK;
  for (let b = 0, to = at, from = 0; b < blocks; b++, to += blockBytes) {
    file[to] = scale & 255;
    file[to + 1] = scale >> 8;
    file.set(noise.subarray(from, from + blockBytes - 2), to + 2);
    from = (from + 37) % (noise.length - 64);
  }
}
