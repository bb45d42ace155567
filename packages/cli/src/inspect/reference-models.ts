/** Made-up models that every machine runs once, to learn what a run takes beside what is derived. */
import { gaussian, random } from '@msd/core/numerics';
import { type NodeSpec, type TensorSpec, type ValueSpec, writeModel } from '@msd/onnx/write';

const [HEAD_SIZE, POSITIONS, BLOCK] = [64, 512, 32];
const FLOAT_WIDTH = 512;
const MICROSOFT = 'com.microsoft';

/** Nodes and weights as they come up. */
class Builder {
  readonly nodes: NodeSpec[] = [];
  readonly initializers: TensorSpec[] = [];
  readonly #random = random(1);

  node(opType: string, inputs: readonly string[], output: string, attributes: NodeSpec['attributes'] = {}): string {
    this.nodes.push({ opType, name: output, inputs, outputs: [output], attributes });
    return output;
  }

  floats(name: string, dims: readonly number[], scale = 1): string {
    const length = dims.reduce((a, b) => a * b, 1);
    const data = Float32Array.from({ length }, () => scale * gaussian(this.#random));
    this.initializers.push({ name, dtype: 'float32', dims, data });
    return name;
  }

  ones(name: string, length: number): string {
    this.initializers.push({ name, dtype: 'float32', dims: [length], data: new Float32Array(length).fill(1) });
    return name;
  }

  /** x times a matrix of 4 bits: its speed does not depend on its elements. */
  matrix(x: string, name: string, N: number, K: number): string {
    const blocks = K / BLOCK;
    const data = Uint8Array.from({ length: (N * K) / 2 }, () => 256 * this.#random());
    const scales = new Float32Array(N * blocks).fill(0.01);
    this.initializers.push(
      { name: `${name}.codes`, dtype: 'uint8', dims: [N, blocks, BLOCK / 2], data },
      { name: `${name}.scales`, dtype: 'float32', dims: [N * blocks], data: scales },
    );
    this.nodes.push({
      ...{ opType: 'MatMulNBits', domain: MICROSOFT, name, outputs: [name] },
      inputs: [x, `${name}.codes`, `${name}.scales`],
      attributes: { N: { int: N }, K: { int: K }, bits: { int: 4 }, block_size: { int: BLOCK } },
    });
    return name;
  }

  integers(name: string, dims: readonly number[], ...values: readonly bigint[]): string {
    this.initializers.push({ name, dtype: 'int64', dims, data: BigInt64Array.from(values) });
    return name;
  }
}

const INT32 = { to: { int: 6 } };

/**
 * A decoder as exports for ONNX Runtime are: four layers, weights of 4 bits, a cache of keys and values.
 *
 * @param heads of attention, of 64 channels each: 8 have 10 MB of weights, 2 have 0.6
 */
export function decoder(heads: number): Uint8Array {
  const to = new Builder();
  const layers = 4;
  const [width, feed, vocabulary] = [HEAD_SIZE * heads, 176 * heads, 512 * heads];
  const one = to.integers('one', [1], 1n);
  const lengths = to.node('ReduceSum', ['attention_mask', one], 'lengths');
  const last = to.node('Cast', [to.node('Sub', [lengths, one], 'before')], 'last', INT32);
  const sizes = to.node('Shape', ['attention_mask'], 'sizes');
  const total = to.node('Gather', [sizes, to.integers('second', [], 1n)], 'all', { axis: { int: 0 } });
  const count = to.node('Cast', [total], 'count', INT32);
  const angles = ['cos', 'sin'].map((name) => to.floats(name, [POSITIONS, HEAD_SIZE / 2]));
  const inputs: ValueSpec[] = [
    { name: 'input_ids', dtype: 'int64', dims: ['batch_size', 'sequence_length'] },
    { name: 'attention_mask', dtype: 'int64', dims: ['batch_size', 'total_sequence_length'] },
  ];
  const outputs: ValueSpec[] = [
    { name: 'logits', dtype: 'float32', dims: ['batch_size', 'sequence_length', vocabulary] },
  ];
  let sum = to.node('Gather', [to.floats('table', [vocabulary, width]), 'input_ids'], 'embedded');
  let x = '';
  /** Adds what a layer's half computed, if there is one, and normalizes. */
  const normalize = (name: string, added?: string): void => {
    const weight = to.ones(`${name}.weight`, width);
    const attributes = { epsilon: { float: 1e-6 } };
    if (added === undefined) {
      x = to.node('SimplifiedLayerNormalization', [sum, weight], name, { axis: { int: -1 }, ...attributes });
      return;
    }
    const next = `${name}.sum`;
    to.nodes.push({
      ...{ opType: 'SkipSimplifiedLayerNormalization', domain: MICROSOFT, name, attributes },
      ...{ inputs: [sum, added, weight], outputs: [name, '', '', next] },
    });
    [x, sum] = [name, next];
  };
  normalize('first');
  for (let i = 0; i < layers; i++) {
    const cache = ['key', 'value'].map((part) => `past_key_values.${i}.${part}`);
    const kept = cache.map((name) => name.replace('past_key_values', 'present'));
    for (const [list, names, length] of [
      [inputs, cache, 'past_sequence_length'],
      [outputs, kept, 'total_sequence_length'],
    ] as const)
      for (const name of names) list.push({ name, dtype: 'float32', dims: ['batch_size', heads, length, HEAD_SIZE] });
    const projected = ['q', 'k', 'v'].map((name) => to.matrix(x, `${i}.${name}`, width, width));
    to.nodes.push({
      ...{ opType: 'GroupQueryAttention', domain: MICROSOFT, name: `${i}.attention` },
      inputs: [...projected, ...cache, last, count, ...angles],
      outputs: [`${i}.attended`, ...kept],
      attributes: { num_heads: { int: heads }, kv_num_heads: { int: heads }, do_rotary: { int: 1 } },
    });
    normalize(`${i}.middle`, to.matrix(`${i}.attended`, `${i}.o`, width, width));
    const gate = to.matrix(x, `${i}.gate`, feed, width);
    const gated = to.node('Mul', [gate, to.node('Sigmoid', [gate], `${i}.sigmoid`)], `${i}.silu`);
    const up = to.node('Mul', [gated, to.matrix(x, `${i}.up`, feed, width)], `${i}.both`);
    normalize(`${i}.end`, to.matrix(up, `${i}.down`, width, feed));
  }
  to.matrix(x, 'logits', vocabulary, width);
  return writeModel({ graph: { nodes: to.nodes, initializers: to.initializers, inputs, outputs } });
}

/** What onnxruntime-web runs alone: a text encoder's products of floats, with what lies between them; 8 MB. */
export function floatModel(layers = 4): Uint8Array {
  const to = new Builder();
  let x = 'x';
  for (let i = 0; i < layers; i++) {
    const inner = to.node(
      'MatMul',
      [x, to.floats(`${i}.in`, [FLOAT_WIDTH, FLOAT_WIDTH], FLOAT_WIDTH ** -0.5)],
      `${i}.inner`,
    );
    const biased = to.node('Add', [inner, to.floats(`${i}.bias`, [FLOAT_WIDTH])], `${i}.biased`);
    const erf = to.node('Erf', [biased], `${i}.erf`);
    const outer = to.node(
      'MatMul',
      [erf, to.floats(`${i}.out`, [FLOAT_WIDTH, FLOAT_WIDTH], FLOAT_WIDTH ** -0.5)],
      `${i}.outer`,
    );
    const sum = to.node('Add', [outer, x], `${i}.sum`);
    x = to.node(
      'LayerNormalization',
      [sum, to.ones(`${i}.weight`, FLOAT_WIDTH)],
      i === layers - 1 ? 'y' : `${i}.normalized`,
    );
  }
  const dims = ['batch_size', 'sequence_length', FLOAT_WIDTH];
  const [input, output] = ['x', 'y'].map((name): ValueSpec => ({ name, dtype: 'float32', dims }));
  return writeModel({
    graph: { nodes: to.nodes, initializers: to.initializers, inputs: [input!], outputs: [output!] },
  });
}
