/**
 * A sentence encoder for tests and for a first look, made by this file and not trained: words of one topic are given nearly the same
 * vector, so that "bad weather" finds "a storm" without sharing a word with it. It is spelt like the `q8` exports of BERT on the hub:
 *
 *   Gather -> per layer [norm -> q, k, v -> softmax(q·kᵀ)·v -> o -> + ; norm -> up -> Gelu -> down -> +] -> last_hidden_state
 *
 *   input_ids, attention_mask   int64 [batch, sequence]
 *   last_hidden_state           f32   [batch, sequence, HIDDEN]
 */
import { type ModelSpec, type NodeSpec, type TensorSpec, writeModel } from '@msd/onnx/write';
import { dynamicQ8 } from '../../onnx-story/src/dynamic-q8.ts';
import { normal, seededRandom } from '../../story-model/src/random.ts';
import { TOPICS, VOCABULARY } from './toy-words.ts';

const HIDDEN = 128;
const HEADS = 4;
const INNER = 512;
const LAYERS = 2;
const HEAD = HIDDEN / HEADS;
/** How far words of one topic lie from it, and words of no topic from nothing. */
const SPREAD = 0.5;
const FUNCTION_WORD = 0.1;
/** What a layer adds is small: nobody has trained it. */
const BRANCH = 0.05;
const FLOAT = 1;

const random = seededRandom(20261129);
const gaussians = (count: number, scale: number) => Float32Array.from({ length: count }, () => scale * normal(random));

/** One row per word. */
function embeddings(): Float32Array {
  const topics = TOPICS.map(() => gaussians(HIDDEN, 1));
  const rows = new Float32Array(VOCABULARY.length * HIDDEN);
  for (const [id, word] of VOCABULARY.entries()) {
    const topic = topics[TOPICS.findIndex((words) => words.includes(word))];
    const own = gaussians(HIDDEN, topic ? SPREAD : FUNCTION_WORD);
    rows.set(
      own.map((value, k) => value + (topic?.[k] ?? 0)),
      id * HIDDEN,
    );
  }
  return rows;
}

/** Collects nodes and initializers; every method returns the name of what it made. */
class Builder {
  readonly nodes: NodeSpec[] = [];
  readonly initializers: TensorSpec[] = [];

  constant(name: string, dtype: TensorSpec['dtype'], dims: readonly number[], data: ArrayBufferView): string {
    this.initializers.push({ name, dtype, dims, data });
    return name;
  }

  scalar(name: string, value: number): string {
    return this.constant(name, 'float32', [], new Float32Array([value]));
  }

  shape(name: string, ...dims: number[]): string {
    return this.constant(name, 'int64', [dims.length], BigInt64Array.from(dims.map(BigInt)));
  }

  node(name: string, opType: string, inputs: readonly string[], options: Partial<NodeSpec> = {}): string {
    const outputs = options.outputs ?? [`${name}/output_0`];
    this.nodes.push({ ...options, name, opType, inputs, outputs });
    return outputs[0]!;
  }

  /** y = x · W + b */
  linear(name: string, x: string, K: number, N: number, scale: number): string {
    const w = this.constant(`${name}.weight`, 'float32', [K, N], gaussians(K * N, scale));
    const y = this.node(`${name}/MatMul`, 'MatMul', [x, w]);
    return this.node(`${name}/Add`, 'Add', [this.constant(`${name}.bias`, 'float32', [N], gaussians(N, 0.01)), y]);
  }

  norm(name: string, x: string): string {
    const gain = this.constant(`${name}.weight`, 'float32', [HIDDEN], new Float32Array(HIDDEN).fill(1));
    const bias = this.constant(`${name}.bias`, 'float32', [HIDDEN], new Float32Array(HIDDEN));
    return this.node(name, 'LayerNormalization', [x, gain, bias], {
      attributes: { axis: { int: -1 }, epsilon: { float: 1e-12 } },
    });
  }
}

function attention(graph: Builder, path: string, x: string, mask: string): string {
  const perHead = (name: string, perm: number[]) => {
    const y = graph.linear(`${path}/${name}`, x, HIDDEN, HIDDEN, HIDDEN ** -0.5);
    const split = graph.node(`${path}/${name}/Reshape`, 'Reshape', [y, 'by_head']);
    return graph.node(`${path}/${name}/Transpose`, 'Transpose', [split], { attributes: { perm: { ints: perm } } });
  };
  const [q, k, v] = [perHead('query', [0, 2, 1, 3]), perHead('key', [0, 2, 3, 1]), perHead('value', [0, 2, 1, 3])];
  const scores = graph.node(`${path}/MatMul`, 'MatMul', [q!, k!]);
  const scaled = graph.node(`${path}/Div`, 'Div', [scores, 'sqrt_head']);
  const masked = graph.node(`${path}/Add`, 'Add', [scaled, mask]);
  const shares = graph.node(`${path}/Softmax`, 'Softmax', [masked], { attributes: { axis: { int: -1 } } });
  const mixed = graph.node(`${path}/MatMul_1`, 'MatMul', [shares, v!]);
  const turned = graph.node(`${path}/Transpose_3`, 'Transpose', [mixed], {
    attributes: { perm: { ints: [0, 2, 1, 3] } },
  });
  const joined = graph.node(`${path}/Reshape_3`, 'Reshape', [turned, 'joined']);
  return graph.linear(`${path}/output`, joined, HIDDEN, HIDDEN, BRANCH * HIDDEN ** -0.5);
}

function toyGraph(): ModelSpec {
  const graph = new Builder();
  graph.shape('by_head', 0, 0, HEADS, HEAD);
  graph.shape('joined', 0, 0, HIDDEN);
  graph.scalar('sqrt_head', Math.sqrt(HEAD));
  const table = graph.constant('embeddings.weight', 'float32', [VOCABULARY.length, HIDDEN], embeddings());
  let x = graph.node('/embeddings/Gather', 'Gather', [table, 'input_ids']);
  const wide = graph.node('/Unsqueeze', 'Unsqueeze', ['attention_mask', graph.shape('mask_axes', 1, 2)]);
  const isThere = graph.node('/Cast', 'Cast', [wide], { attributes: { to: { int: FLOAT } } });
  const isNot = graph.node('/Sub', 'Sub', [graph.scalar('one', 1), isThere]);
  const mask = graph.node('/Mul', 'Mul', [isNot, graph.scalar('lowest', -3.4e38)]);
  for (let layer = 0; layer < LAYERS; layer++) {
    const path = `/encoder/layer.${layer}`;
    const mixed = attention(graph, `${path}/attention`, graph.norm(`${path}/attention/LayerNorm`, x), mask);
    x = graph.node(`${path}/Add`, 'Add', [x, mixed]);
    const up = graph.linear(`${path}/intermediate`, graph.norm(`${path}/LayerNorm`, x), HIDDEN, INNER, HIDDEN ** -0.5);
    const curved = graph.node(`${path}/intermediate/Gelu`, 'Gelu', [up]);
    const down = graph.linear(`${path}/output`, curved, INNER, HIDDEN, BRANCH * INNER ** -0.5);
    const isLast = layer === LAYERS - 1;
    x = graph.node(`${path}/Add_1`, 'Add', [x, down], isLast ? { outputs: ['last_hidden_state'] } : {});
  }
  const ids = (name: string) => ({ name, dtype: 'int64' as const, dims: ['batch', 'sequence'] });
  return {
    opsets: { '': 20 },
    graph: {
      nodes: graph.nodes,
      initializers: graph.initializers,
      inputs: [ids('input_ids'), ids('attention_mask')],
      outputs: [{ name: 'last_hidden_state', dtype: 'float32', dims: ['batch', 'sequence', HIDDEN] }],
    },
  };
}

const special = (content: string) => ({
  id: VOCABULARY.indexOf(content),
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});
const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]'];

function tokenizer(): object {
  const word = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  const place = (content: string) => ({ id: content, ids: [VOCABULARY.indexOf(content)], tokens: [content] });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map(special),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [word('[CLS]'), { Sequence: { id: 'A', type_id: 0 } }, word('[SEP]')],
      pair: [
        word('[CLS]'),
        { Sequence: { id: 'A', type_id: 0 } },
        word('[SEP]'),
        { Sequence: { id: 'B', type_id: 1 } },
        word('[SEP]'),
      ],
      special_tokens: { '[CLS]': place('[CLS]'), '[SEP]': place('[SEP]') },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(VOCABULARY.map((text, id) => [text, id])),
    },
  };
}

/** All files of the model, as a folder of the hub has them. */
export function toyFiles(): ReadonlyMap<string, Uint8Array> {
  const json = (value: object) => new TextEncoder().encode(JSON.stringify(value, null, 1));
  return new Map([
    [
      'config.json',
      json({
        architectures: ['BertModel'],
        model_type: 'bert',
        hidden_size: HIDDEN,
        num_hidden_layers: LAYERS,
        num_attention_heads: HEADS,
        intermediate_size: INNER,
        vocab_size: VOCABULARY.length,
        max_position_embeddings: 512,
      }),
    ],
    ['tokenizer.json', json(tokenizer())],
    [
      'tokenizer_config.json',
      json({
        tokenizer_class: 'BertTokenizer',
        model_max_length: 512,
        pad_token: '[PAD]',
        unk_token: '[UNK]',
        cls_token: '[CLS]',
        sep_token: '[SEP]',
      }),
    ],
    ['onnx/model_quantized.onnx', writeModel(dynamicQ8(toyGraph()))],
  ]);
}
