/** Small seeded models in the layout of Transformers.js: one folder for each kind of pipeline. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FILES } from '../../../examples/story-model/src/files.ts';
import { type GraphSpec, type NodeSpec, type TensorSpec, type ValueSpec, writeModel } from '../src/write/index.ts';
import { MERGED, mergedGraph, op } from './merged.ts';
import { gaussian, makeMatrix, random } from './models.ts';

const { heads, size, width } = MERGED;
/** Of the shipped story model, whose words all models here read. */
const VOCABULARY = 480;
const POSITIONS = 64;

/** What products are made of: MatMulNBits, floats, or dynamic int8 and the floats that its codes stand for. */
export type Products = 'q4' | 'fp32' | 'q8' | 'q8 as floats';

/** A graph under construction. */
export class Draft {
  readonly nodes: NodeSpec[] = [];
  readonly initializers: TensorSpec[] = [];
  readonly #products: Products;
  #count = 0;

  constructor(products: Products = 'q4') {
    this.#products = products;
  }

  op(opType: string, inputs: readonly string[], attributes: NodeSpec['attributes'] = {}, to = this.#name()): string {
    this.nodes.push(op(opType, inputs, to, attributes));
    return to;
  }

  ints(...values: number[]): string {
    return this.#constant('int64', [values.length], BigInt64Array.from(values, BigInt));
  }

  int(value: number): string {
    return this.#constant('int64', [], BigInt64Array.of(BigInt(value)));
  }

  float(value: number): string {
    return this.#constant('float32', [], Float32Array.of(value));
  }

  /** Seeded by how many things are already there. */
  weight(dims: readonly number[], spread = 1): string {
    const count = dims.reduce((product, dim) => product * dim, 1);
    const data = gaussian(random(++this.#count), count).map((value) => value * spread);
    return this.#constant('float32', dims, data);
  }

  linear(x: string, K: number, N: number, to = this.#name()): string {
    if (this.#products === 'fp32') return this.op('MatMul', [x, this.weight([K, N], 1 / Math.sqrt(K))], {}, to);
    if (this.#products !== 'q4') return this.#dynamic(x, K, N, to);
    const matrix = makeMatrix({ name: this.#name(), K, N, seed: this.#count });
    this.initializers.push(...matrix.initializers);
    this.nodes.push(matrix.node(x, to));
    return to;
  }

  /** DynamicQuantizeLinear, MatMulInteger, and scales: as quantize_dynamic writes it. */
  #dynamic(x: string, K: number, N: number, to: string): string {
    const codes = Uint8Array.from(gaussian(random(++this.#count), K * N), (value) => 128 + 30 * value);
    const [zero, step] = [127, Math.fround(1 / (30 * Math.sqrt(K)))];
    if (this.#products === 'q8 as floats') {
      const reals = Float32Array.from(codes, (code) => (code - zero) * step);
      // As many names as integers take: what comes later has the same seeds.
      this.#count += 8;
      return this.op('MatMul', [x, this.#constant('float32', [K, N], reals)], {}, to);
    }
    const [w, z] = [this.#constant('uint8', [K, N], codes), this.#constant('uint8', [], Uint8Array.of(zero))];
    const [q, s, p] = [this.#name(), this.#name(), this.#name()];
    this.nodes.push({ opType: 'DynamicQuantizeLinear', name: q, inputs: [x], outputs: [q, s, p] });
    const sums = this.op('Cast', [this.op('MatMulInteger', [q, w, p, z])], { to: { int: 1 } });
    return this.op('Mul', [sums, this.op('Mul', [s, this.float(step)])], {}, to);
  }

  norm(x: string): string {
    return this.op('LayerNormalization', [x, this.weight([width], 0.3), this.weight([width], 0.3)]);
  }

  embedded(ids: string): string {
    return this.op('Gather', [this.weight([VOCABULARY, width]), ids]);
  }

  /** 0 for what a mask of 1 and 0 lets through, far below 0 for the rest; [b, 1, 1, keys]. */
  padding(mask: string): string {
    const four = this.op('Unsqueeze', [mask, this.ints(1, 2)]);
    const hidden = this.op('Sub', [this.float(1), this.op('Cast', [four], { to: { int: 1 } })]);
    return this.op('Mul', [hidden, this.float(-1e9)]);
  }

  /** Attention and a pair of products, each added to what came in. */
  layer(x: string, mask: string | undefined, cache?: (part: string, value: string) => string): string {
    const read = this.norm(x);
    const split = (rows: string): string =>
      this.op('Transpose', [this.op('Reshape', [rows, this.ints(0, -1, heads, size)])], {
        perm: { ints: [0, 2, 1, 3] },
      });
    const [query, newKey, newValue] = [0, 1, 2].map(() => split(this.linear(read, width, width))) as [
      string,
      string,
      string,
    ];
    const [key, value] = cache ? [cache('key', newKey), cache('value', newValue)] : [newKey, newValue];
    const turned = this.op('Transpose', [key], { perm: { ints: [0, 1, 3, 2] } });
    let scores = this.op('Div', [this.op('MatMul', [query, turned]), this.float(Math.sqrt(size))]);
    if (mask) scores = this.op('Add', [scores, mask]);
    const seen = this.op('MatMul', [this.op('Softmax', [scores], { axis: { int: -1 } }), value]);
    const joined = this.op('Reshape', [
      this.op('Transpose', [seen], { perm: { ints: [0, 2, 1, 3] } }),
      this.ints(0, -1, width),
    ]);
    const attended = this.op('Add', [x, this.linear(joined, width, width)]);
    const wide = this.op('Relu', [this.linear(this.norm(attended), width, 2 * width)]);
    return this.op('Add', [attended, this.linear(wide, 2 * width, width)]);
  }

  graph(inputs: readonly ValueSpec[], outputs: readonly ValueSpec[]): GraphSpec {
    return { nodes: this.nodes, initializers: this.initializers, inputs, outputs };
  }

  #constant(dtype: 'int64' | 'float32' | 'uint8', dims: readonly number[], data: ArrayBufferView): string {
    const name = this.#name();
    this.initializers.push({ name, dtype, dims, data });
    return name;
  }

  #name(): string {
    return `v${++this.#count}`;
  }
}

export const ids = (name: string, rows = 'rows'): ValueSpec => ({ name, dtype: 'int64', dims: ['b', rows] });
export const floats = (name: string, ...dims: (string | number)[]): ValueSpec => ({ name, dtype: 'float32', dims });

/** BERT's shape: with `classes`, logits of the first token; else the last states. */
export function encoderGraph({ classes = 0, products = 'q4' as Products, hasTypes = true } = {}): GraphSpec {
  const draft = new Draft(products);
  const words = draft.embedded('input_ids');
  const types = hasTypes ? draft.op('Gather', [draft.weight([2, width]), 'token_type_ids']) : words;
  const states = draft.layer(draft.op('Add', [words, types]), draft.padding('attention_mask'));
  const inputs = ['input_ids', 'attention_mask', ...(hasTypes ? ['token_type_ids'] : [])].map((name) => ids(name));
  if (classes === 0) {
    draft.op('Identity', [states], {}, 'last_hidden_state');
    return draft.graph(inputs, [floats('last_hidden_state', 'b', 'rows', width)]);
  }
  draft.linear(draft.op('Gather', [states, draft.int(0)], { axis: { int: 1 } }), width, classes, 'logits');
  return draft.graph(inputs, [floats('logits', 'b', classes)]);
}

/** BERT's shape with logits of every token. */
export function tokenGraph(classes: number): GraphSpec {
  const draft = new Draft();
  draft.linear(draft.layer(draft.embedded('input_ids'), draft.padding('attention_mask')), width, classes, 'logits');
  return draft.graph([ids('input_ids'), ids('attention_mask')], [floats('logits', 'b', 'rows', classes)]);
}

export const IMAGE = 32;
const PATCH = 8;

/** Patches of an image. */
export const PATCHES = (IMAGE / PATCH) ** 2;

/** A state for each of them. */
export function patchStates(draft: Draft): string {
  const kernel = { kernel_shape: { ints: [PATCH, PATCH] }, strides: { ints: [PATCH, PATCH] } };
  const patches = draft.op('Conv', ['pixel_values', draft.weight([width, 3, PATCH, PATCH], 0.1)], kernel);
  const rows = draft.op('Transpose', [draft.op('Reshape', [patches, draft.ints(0, width, -1)])], {
    perm: { ints: [0, 2, 1] },
  });
  return draft.layer(draft.op('Add', [rows, draft.weight([PATCHES, width])]), undefined);
}

/** ViT's shape. */
export function visionGraph(classes: number): GraphSpec {
  const draft = new Draft();
  const states = patchStates(draft);
  draft.linear(draft.op('Gather', [states, draft.int(0)], { axis: { int: 1 } }), width, classes, 'logits');
  return draft.graph([floats('pixel_values', 'b', 3, IMAGE, IMAGE)], [floats('logits', 'b', classes)]);
}

/** GPT-2's shape: positions, a padding mask, a cache by Concat. @param isEmbedded it is fed states instead of words */
export function decoderGraph(products: Products = 'q4', isEmbedded = false): GraphSpec {
  const draft = new Draft(products);
  const input = isEmbedded ? 'inputs_embeds' : 'input_ids';
  const places = draft.op('Gather', [draft.weight([POSITIONS, width]), 'position_ids']);
  const length = (x: string, axis: number): string => draft.op('Gather', [draft.op('Shape', [x]), draft.int(axis)]);
  const total = length('attention_mask', 1);
  const past = draft.op('Sub', [total, length(input, 1)]);
  const [zero, one] = [draft.int(0), draft.int(1)];
  const own = draft.op('Unsqueeze', [draft.op('Range', [past, total, one]), draft.ints(1)]);
  const later = draft.op('Greater', [draft.op('Range', [zero, total, one]), own]);
  const causal = draft.op('Where', [later, draft.float(-1e9), draft.float(0)]);
  const mask = draft.op('Add', [draft.padding('attention_mask'), causal]);
  const words = isEmbedded ? input : draft.embedded(input);
  const states = draft.layer(draft.op('Add', [words, places]), mask, (part, value) =>
    draft.op('Concat', [`past_key_values.0.${part}`, value], { axis: { int: 2 } }, `present.0.${part}`),
  );
  draft.linear(draft.norm(states), width, VOCABULARY, 'logits');
  const cache = (prefix: string, rows: string): ValueSpec[] =>
    ['key', 'value'].map((part) => floats(`${prefix}.0.${part}`, 'b', heads, rows, size));
  return draft.graph(
    [
      isEmbedded ? floats(input, 'b', 'rows', width) : ids(input),
      ids('attention_mask', 'total'),
      ids('position_ids'),
      ...cache('past_key_values', 'past'),
    ],
    [floats('logits', 'b', 'rows', VOCABULARY), ...cache('present', 'total')],
  );
}

/** Whisper's encoder's shape: two Convs over the frames of a spectrogram. */
export function speechGraph(bands: number): GraphSpec {
  const draft = new Draft();
  const conv = (x: string, channels: number, stride: number): string =>
    draft.op('Relu', [
      draft.op('Conv', [x, draft.weight([width, channels, 3], 0.1)], {
        kernel_shape: { ints: [3] },
        pads: { ints: [1, 1] },
        strides: { ints: [stride] },
      }),
    ]);
  const frames = conv(conv('input_features', bands, 1), width, 2);
  draft.op(
    'Identity',
    [draft.layer(draft.op('Transpose', [frames], { perm: { ints: [0, 2, 1] } }), undefined)],
    {},
    'last_hidden_state',
  );
  return draft.graph(
    [floats('input_features', 'b', bands, 'frames')],
    [floats('last_hidden_state', 'b', 'half', width)],
  );
}

/** The decoder of merged.ts under the names of Transformers.js, from tokens on. */
export function mergedDecoderGraph(encoder: 'same' | 'empty'): GraphSpec {
  const { nodes, initializers, inputs, outputs } = renamed(mergedGraph({ encoder }));
  const table = gaussian(random(77), MERGED.vocabulary * width);
  return {
    nodes: [op('Gather', ['embedding', 'input_ids'], 'x'), ...nodes],
    initializers: [
      ...initializers!,
      { name: 'embedding', dtype: 'float32', dims: [MERGED.vocabulary, width], data: table },
    ],
    inputs: [ids('input_ids'), ...inputs.filter(({ name }) => name !== 'x')],
    outputs,
  };
}

const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^past\.(?=\w+\.)/, 'past_key_values.0.'],
  [/^present\.(?=\w+\.)/, 'present.0.'],
  [/^states$/, 'encoder_hidden_states'],
  [/^flag$/, 'use_cache_branch'],
];
const nameOf = (name: string): string => NAMES.reduce((text, [from, to]) => text.replace(from, to), name);

function renamed(graph: GraphSpec): GraphSpec {
  const values = (list: readonly ValueSpec[]) => list.map((value) => ({ ...value, name: nameOf(value.name) }));
  const nodes = (graph.nodes as readonly NodeSpec[]).map((node) => ({
    ...node,
    inputs: node.inputs.map(nameOf),
    outputs: node.outputs.map(nameOf),
    attributes: Object.fromEntries(
      Object.entries(node.attributes ?? {}).map(([key, value]) => [
        key,
        'graph' in value ? { graph: renamed(value.graph) } : value,
      ]),
    ),
  }));
  return { ...graph, nodes, inputs: values(graph.inputs), outputs: values(graph.outputs) };
}

/** What a folder holds. */
export interface ModelFolder {
  readonly config: object;
  readonly generation?: object;
  readonly preprocessor?: object;
  /** Of tokenizer_config.json, over the story model's. */
  readonly tokenizer?: object;
  /** Files under onnx/. */
  readonly files: Readonly<Record<string, GraphSpec | Uint8Array>>;
}

/** Writes `folder/name` as Transformers.js reads it, with the tokenizer of the story model. */
export function writeFolder(folder: string, name: string, model: ModelFolder): void {
  const at = join(folder, name);
  mkdirSync(join(at, 'onnx'), { recursive: true });
  const json = (file: string, value: object | undefined) =>
    value && writeFileSync(join(at, file), JSON.stringify(value));
  copyFileSync(FILES.tokenizer, join(at, 'tokenizer.json'));
  const tokenizer = JSON.parse(readFileSync(FILES.tokenizer, 'utf8')) as { added_tokens: object[] };
  // Whisper's tokenizer looks for it.
  const first = {
    id: VOCABULARY,
    content: '<|notimestamps|>',
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
  };
  json('tokenizer.json', { ...tokenizer, added_tokens: [...tokenizer.added_tokens, first] });
  json('tokenizer_config.json', {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: '<s>',
    eos_token: '</s>',
    unk_token: '<unk>',
    pad_token: '<pad>',
    model_max_length: POSITIONS,
    ...model.tokenizer,
  });
  json('config.json', model.config);
  json('generation_config.json', model.generation);
  json('preprocessor_config.json', model.preprocessor);
  for (const [file, graph] of Object.entries(model.files))
    writeFileSync(join(at, 'onnx', file), graph instanceof Uint8Array ? graph : writeModel({ graph }));
}
