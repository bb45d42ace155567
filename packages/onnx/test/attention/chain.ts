/** Attention spelt out in the ways of exporters: the graphs, and what they are fed. */
import { type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../../src/write/index.ts';
import { gaussian, random } from '../models.ts';
import { ort, tensor } from '../ort.ts';

export interface Chain {
  readonly batch?: number;
  readonly rows?: number;
  /** Keys. Default: `rows`; other than that, cross-attention. */
  readonly keys?: number;
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly size?: number;
  readonly valueSize?: number;
  /** Where scores are scaled. */
  readonly scale?: 'scores' | 'mul' | 'q' | 'both' | 'none';
  readonly softcap?: number;
  readonly masks?: readonly ('bias' | 'head bias' | 'padding' | 'filter' | 'never' | 'unseen' | 'subtracted')[];
  /** How q, k and v come: a value each, or parts of one. */
  readonly packed?: 'split' | 'slice' | 'gather';
  /** Batch and heads in one dimension. */
  readonly flat?: boolean;
  /** Half of the batch, whose sizes are not one with the heads, has a mask of its own: five dimensions, or with the heads in one. */
  readonly windows?: 'apart' | 'with heads';
  /** What scores are multiplied with once more, behind masks. */
  readonly last?: number;
  /** Nodes between Softmax and v. */
  readonly after?: readonly ('dropout' | 'isnan' | 'identity')[];
  /** Values that are outputs of the graph, too. */
  readonly shown?: readonly ('scores' | 'weights' | 'keys')[];
  readonly axis?: number;
  /** What a filter gives. Default: the lowest float. */
  readonly filtered?: number;
  /** No movement behind the product with v. */
  readonly open?: boolean;
}

const LOWEST = -3.4028234663852886e38;

class Builder {
  readonly nodes: NodeSpec[] = [];
  readonly initializers: TensorSpec[] = [];
  #count = 0;

  node(opType: string, inputs: readonly string[], attributes: NodeSpec['attributes'] = {}, outputs?: string[]): string {
    const names = outputs ?? [`v${++this.#count}`];
    this.nodes.push({ opType, inputs: [...inputs], outputs: names, attributes });
    return names[0]!;
  }

  ints(values: readonly number[], scalar = false): string {
    const name = `c${++this.#count}`;
    const data = BigInt64Array.from(values, BigInt);
    this.initializers.push({ name, dtype: 'int64', dims: scalar ? [] : [values.length], data });
    return name;
  }

  floats(values: readonly number[], dims: readonly number[] = []): string {
    const name = `c${++this.#count}`;
    this.initializers.push({ name, dtype: 'float32', dims: [...dims], data: Float32Array.from(values) });
    return name;
  }

  /** [B, rows, H·d] → [B, H, rows, d], or [B·H, rows, d] */
  heads(x: string, heads: number, size: number, { flat = false, batch = 1 }: Chain): string {
    const split = this.node('Reshape', [x, this.ints([0, 0, heads, size])]);
    const turned = this.node('Transpose', [split], { perm: { ints: [0, 2, 1, 3] } });
    return flat ? this.node('Reshape', [turned, this.ints([batch * heads, -1, size])]) : turned;
  }
}

export interface Built {
  readonly model: Uint8Array;
  readonly feeds: Record<string, ort.Tensor>;
}

export function buildChain(chain: Chain, seed = 1): Built {
  const { batch = 2, rows = 5, heads = 4, size = 16, kvHeads = heads, valueSize = size, scale = 'scores' } = chain;
  const { keys = rows, masks = [], packed, flat = false, after = [], shown = [], axis = -1 } = chain;
  const to = new Builder();
  const next = random(seed);
  const feeds: Record<string, ort.Tensor> = {};
  const inputs: GraphSpec['inputs'][number][] = [];
  const feed = (name: string, dims: readonly number[]): string => {
    inputs.push({
      name,
      dtype: 'float32',
      dims: dims.map((dim, i) => (i === 1 && dims.length === 3 && !flat ? `${name}_rows` : dim)),
    });
    feeds[name] = tensor(
      gaussian(
        next,
        dims.reduce((a, b) => a * b, 1),
      ),
      dims,
    );
    return name;
  };
  const feedBool = (name: string, dims: readonly number[]): string => {
    inputs.push({ name, dtype: 'bool', dims: [...dims] });
    const data = Uint8Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) =>
      i % dims.at(-1)! === 0 || next() > 0.4 ? 1 : 0,
    );
    feeds[name] = new ort.Tensor('bool', data, dims);
    return name;
  };

  let [q, k, v] = ['', '', ''];
  if (packed === 'gather') {
    const x = feed('x', [batch, rows, 3 * heads * size]);
    const split = to.node('Reshape', [x, to.ints([0, 0, 3, heads, size])]);
    const turned = to.node('Transpose', [split], { perm: { ints: [2, 0, 3, 1, 4] } });
    [q, k, v] = [0, 1, 2].map((i) => to.node('Gather', [turned, to.ints([i], true)], { axis: { int: 0 } })) as [
      string,
      string,
      string,
    ];
  } else if (packed) {
    const width = heads * size;
    const x = feed('x', [batch, rows, 3 * width]);
    const names = ['xq', 'xk', 'xv'];
    if (packed === 'split') to.node('Split', [x, to.ints([width, width, width])], { axis: { int: 2 } }, names);
    else
      names.forEach((name, i) => {
        to.node('Slice', [x, to.ints([i * width]), to.ints([(i + 1) * width]), to.ints([2])], {}, [name]);
      });
    [q, k, v] = names.map((name) => to.heads(name, heads, size, chain)) as [string, string, string];
  } else {
    q = to.heads(feed('q', [batch, rows, heads * size]), heads, size, { ...chain, batch });
    k = to.heads(feed('k', [batch, keys, kvHeads * size]), kvHeads, size, { ...chain, batch });
    v = to.heads(feed('v', [batch, keys, kvHeads * valueSize]), kvHeads, valueSize, { ...chain, batch });
  }
  if (kvHeads !== heads)
    [k, v] = (
      [
        [k, size],
        [v, valueSize],
      ] as const
    ).map(([x, width]) => {
      const one = to.node('Unsqueeze', [x, to.ints([2])]);
      const many = to.node('Expand', [one, to.ints([1, 1, heads / kvHeads, 1, 1])]);
      return to.node('Reshape', [many, to.ints([0, heads, -1, width])]);
    }) as [string, string];
  const factor = 1 / Math.sqrt(size);
  if (scale === 'q') q = to.node('Mul', [q, to.floats([factor])]);
  if (scale === 'both')
    [q, k] = [q, k].map((x) => to.node('Mul', [x, to.floats([Math.sqrt(factor)])])) as [string, string];
  const turned = to.node('Transpose', [k], { perm: { ints: flat ? [0, 2, 1] : [0, 1, 3, 2] } });
  let scores = to.node('MatMul', [q, turned]);
  if (scale === 'scores') scores = to.node('Div', [scores, to.floats([1 / factor])]);
  if (scale === 'mul') scores = to.node('Mul', [to.floats([factor], [1]), scores]);
  if (chain.softcap !== undefined) {
    const capped = to.node('Tanh', [to.node('Div', [scores, to.floats([chain.softcap])])]);
    scores = to.node('Mul', [capped, to.floats([chain.softcap])]);
  }
  if (flat && masks.length > 0) scores = to.node('Reshape', [scores, to.ints([batch, heads, -1, keys])]);
  const filtered = chain.filtered ?? LOWEST;
  for (const [i, mask] of masks.entries()) {
    const name = `mask${i}`;
    if (mask === 'bias') scores = to.node('Add', [scores, feed(name, [batch, 1, rows, keys])]);
    if (mask === 'head bias') scores = to.node('Add', [feed(name, [1, heads, rows, keys]), scores]);
    if (mask === 'subtracted') scores = to.node('Sub', [scores, feed(name, [rows, keys])]);
    if (mask === 'padding') {
      const seen = to.node('Cast', [feedBool(name, [batch, 1, 1, keys])], { to: { int: 1 } });
      const missing = to.node('Sub', [to.floats([1]), seen]);
      scores = to.node('Add', [scores, to.node('Mul', [missing, to.floats([LOWEST])])]);
    }
    if (mask === 'filter')
      scores = to.node('Where', [feedBool(name, [1, 1, rows, keys]), scores, to.floats([filtered])]);
    if (mask === 'unseen') {
      const unseen = to.node('Not', [feedBool(name, [batch, 1, rows, keys])]);
      scores = to.node('Where', [unseen, to.floats([filtered]), scores]);
    }
    if (mask === 'never')
      scores = to.node('Where', [
        feedBool(name, [batch, 1, rows, keys]),
        scores,
        to.floats([Number.NEGATIVE_INFINITY]),
      ]);
  }
  if (flat && masks.length > 0) scores = to.node('Reshape', [scores, to.ints([batch * heads, -1, keys])]);
  if (chain.windows) {
    const [before, dims] =
      chain.windows === 'apart'
        ? [
            [-1, 2, heads, rows, keys],
            [1, 2, 1, rows, keys],
          ]
        : [
            [-1, 2 * heads, rows, keys],
            [1, 2 * heads, rows, keys],
          ];
    const mask = feed('windows', dims);
    const apart = to.node('Add', [to.node('Reshape', [scores, to.ints(before)]), mask]);
    scores = to.node('Reshape', [apart, to.ints([-1, heads, rows, keys])]);
  }
  if (chain.last !== undefined) scores = to.node('Mul', [scores, to.floats([chain.last])]);
  let weights = to.node('Softmax', [scores], { axis: { int: axis } });
  const shownWeights = weights;
  for (const each of after) {
    if (each === 'dropout') weights = to.node('Dropout', [weights]);
    if (each === 'identity') weights = to.node('Identity', [weights]);
    if (each === 'isnan') weights = to.node('Where', [to.node('IsNaN', [weights]), to.floats([0]), weights]);
  }
  let y = to.node('MatMul', [weights, v]);
  if (!chain.open) {
    if (flat) y = to.node('Reshape', [y, to.ints([batch, heads, -1, valueSize])]);
    y = to.node('Transpose', [y], { perm: { ints: [0, 2, 1, 3] } });
    y = to.node('Reshape', [y, to.ints([0, 0, heads * valueSize])]);
  }
  const outputs = [y, ...shown.map((each) => (each === 'scores' ? scores : each === 'weights' ? shownWeights : k))];
  const rank = chain.open ? (flat ? 3 : 4) : 3;
  const model = writeModel({
    graph: {
      nodes: to.nodes,
      initializers: to.initializers,
      inputs,
      outputs: outputs.map((name, i) => ({
        name,
        dtype: 'float32',
        dims: Array.from({ length: i === 0 ? rank : flat ? 3 : 4 }, (_, d) => `${name}_${d}`),
      })),
    },
  });
  return { model, feeds };
}
