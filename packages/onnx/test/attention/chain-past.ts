/** A decoder's attention, spelt out, with a past by Concat and masks made of shapes: two layers that share the masks. */
import { type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../../src/write/index.ts';
import { gaussian, makeMatrix, random } from '../models.ts';

export interface PastChain {
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly size?: number;
  /** Causal by ranges that are compared, or by a constant triangle. */
  readonly causal?: 'ranges' | 'triangle';
  /** Of ranges: how many of the last keys a query sees. */
  readonly window?: number;
  /** A mask of [batch, past + rows] beside it. */
  readonly padding?: boolean;
  readonly layers?: number;
  /** 4-bit weights: the model is worth cutting. */
  readonly quantized?: boolean;
  /** An operator that MSD does not have makes the mask. */
  readonly isForeign?: boolean;
  /** Past and present are [batch, positions, heads, size]. */
  readonly rowsFirst?: boolean;
  /** Present is handed out by an Identity. */
  readonly handsOn?: boolean;
  /** A node outside that computes with present. */
  readonly isUsed?: boolean;
  /** A slope of each head times the positions that the mask shows, added to scores of [batch · heads, rows, keys], as in Bloom. */
  readonly alibi?: boolean;
}

const LOWEST = -3.4028234663852886e38;

/** Inputs x [batch, rows, heads · size], mask, past.<i>.key and value; outputs y, present.<i>.key and value. */
export function pastModel(chain: PastChain = {}): Uint8Array {
  const { heads = 4, kvHeads = 2, size = 16, causal = 'ranges', padding = true, layers = 2, isUsed = false } = chain;
  const { quantized = false, rowsFirst = false, isForeign = false, window } = chain;
  const nodes: NodeSpec[] = [];
  const initializers: TensorSpec[] = [];
  const next = random(3);
  let count = 0;
  const node = (
    opType: string,
    inputs: readonly string[],
    attributes: NodeSpec['attributes'] = {},
    name = '',
  ): string => {
    const output = name || `v${++count}`;
    nodes.push({ opType, inputs: [...inputs], outputs: [output], attributes });
    return output;
  };
  const ints = (values: readonly number[], scalar = false): string => {
    const name = `c${++count}`;
    initializers.push({
      name,
      dtype: 'int64',
      dims: scalar ? [] : [values.length],
      data: BigInt64Array.from(values, BigInt),
    });
    return name;
  };
  const floats = (data: Float32Array, dims: readonly number[]): string => {
    const name = `c${++count}`;
    initializers.push({ name, dtype: 'float32', dims: [...dims], data });
    return name;
  };
  const number = (value: number): string => floats(Float32Array.of(value), []);
  const sizeOf = (x: string, axis: number): string =>
    node('Gather', [node('Shape', [x]), ints([axis], true)], { axis: { int: 0 } });
  const list = (x: string): string => node('Unsqueeze', [x, ints([0])]);

  const rows = sizeOf('x', 1);
  const past = sizeOf('past.0.key', rowsFirst ? 1 : 2);
  const total = node('Add', [past, rows]);
  let added = '';
  if (causal === 'ranges') {
    const keys = node('Unsqueeze', [node('Range', [ints([0], true), total, ints([1], true)]), ints([0])]);
    const queries = node('Unsqueeze', [node('Range', [past, total, ints([1], true)]), ints([1])]);
    const isLater = node('Greater', [keys, queries]);
    const isHidden =
      window === undefined
        ? isLater
        : node('Or', [isLater, node('LessOrEqual', [keys, node('Sub', [queries, ints([window], true)])])]);
    added = node('Unsqueeze', [node('Where', [isHidden, number(LOWEST), number(0)]), ints([0, 1])]);
  }
  if (padding) {
    const four = node('Unsqueeze', ['mask', ints([1, 2])]);
    const missing = node('Sub', [number(1), node('Cast', [four], { to: { int: 1 } })]);
    const bias = node('Mul', [missing, number(LOWEST)]);
    added = added === '' ? bias : node('Add', [added, bias]);
  }
  let alibi = '';
  if (chain.alibi) {
    const shown = node('Cast', [node('Unsqueeze', ['mask', ints([1, 2])])], { to: { int: 1 } });
    const slopes = Float32Array.from({ length: heads }, (_, i) => -0.3 / (i + 1));
    const positions = node('Cast', [node('Range', [ints([0], true), total, ints([1], true)])], { to: { int: 1 } });
    const each = node('Mul', [node('Mul', [shown, positions]), floats(slopes, [heads, 1, 1])]);
    alibi = node('Reshape', [each, node('Concat', [ints([-1, 1]), list(total)], { axis: { int: 0 } })]);
  }
  // All of it: the diagonal lies outside.
  if (isForeign) added = node('Trilu', [added, ints([1000], true)], { upper: { int: 0 } });
  const triangle = Uint8Array.from({ length: 64 * 64 }, (_, i) => +(i % 64 <= Math.floor(i / 64)));
  if (causal === 'triangle')
    initializers.push({ name: 'triangle', dtype: 'bool', dims: [1, 1, 64, 64], data: triangle });

  const width = heads * size;
  const project = (x: string, N: number): string => {
    if (!quantized) {
      const data = gaussian(next, width * N).map((value) => value / Math.sqrt(width));
      return node('MatMul', [x, floats(data, [width, N])]);
    }
    const matrix = makeMatrix({ name: `m${++count}`, N, K: width, seed: count });
    initializers.push(...matrix.initializers);
    const y = `v${++count}`;
    nodes.push(matrix.node(x, y));
    return y;
  };
  const turned = (x: string): string => node('Transpose', [x], { perm: { ints: [0, 2, 1, 3] } });
  const split = (x: string, parts: number, isTurned = true): string => {
    const four = node('Reshape', [project(x, parts * size), ints([0, 0, parts, size])]);
    return isTurned ? turned(four) : four;
  };
  const outputs: GraphSpec['outputs'][number][] = [];
  let x = 'x';
  for (let layer = 0; layer < layers; layer++) {
    const q = split(x, heads);
    const [k, v] = ['key', 'value'].map((what) => {
      const present = `present.${layer}.${what}`;
      const name = chain.handsOn ? `joined.${layer}.${what}` : present;
      const axis = rowsFirst ? 1 : what === 'key' ? 2 : -2;
      node('Concat', [`past.${layer}.${what}`, split(x, kvHeads, !rowsFirst)], { axis: { int: axis } }, name);
      if (chain.handsOn) node('Identity', [name], {}, present);
      outputs.push({
        name: present,
        dtype: 'float32',
        dims: rowsFirst ? ['batch', 'total', kvHeads, size] : ['batch', kvHeads, 'total', size],
      });
      if (rowsFirst) return turned(name);
      if (kvHeads === heads) return name;
      // Sizes come out of present itself.
      const [batch, length] = [list(sizeOf(name, 0)), list(sizeOf(name, 2))];
      const wide = node('Concat', [batch, ints([kvHeads]), ints([heads / kvHeads]), length, ints([size])], {
        axis: { int: 0 },
      });
      const many = node('Expand', [node('Unsqueeze', [name, ints([2])]), wide]);
      return node('Reshape', [
        many,
        node('Concat', [batch, ints([heads]), length, ints([size])], { axis: { int: 0 } }),
      ]);
    }) as [string, string];
    let scores = node('MatMul', [q, node('Transpose', [k], { perm: { ints: [0, 1, 3, 2] } })]);
    scores = node('Div', [scores, number(Math.sqrt(size))]);
    if (alibi !== '') {
      const flat = node('Reshape', [
        scores,
        node('Concat', [ints([-1]), list(rows), list(total)], { axis: { int: 0 } }),
      ]);
      const apart = node('Concat', [ints([-1, heads]), list(rows), list(total)], { axis: { int: 0 } });
      scores = node('Reshape', [node('Add', [flat, alibi]), apart]);
    }
    if (causal === 'triangle') {
      const end = list(sizeOf(scores, 3));
      const start = node('Sub', [end, list(sizeOf(scores, 2))]);
      const some = node('Slice', ['triangle', start, end, ints([2]), ints([1])]);
      const own = node('Slice', [some, ints([0]), end, ints([3]), ints([1])]);
      scores = node('Where', [own, scores, number(-10000)]);
    }
    if (added !== '') scores = node('Add', [scores, added]);
    const y = node('MatMul', [node('Softmax', [scores], { axis: { int: -1 } }), v]);
    const joined = node('Reshape', [node('Transpose', [y], { perm: { ints: [0, 2, 1, 3] } }), ints([0, 0, width])]);
    x = node('Add', [x, joined], {}, layer === layers - 1 ? 'y' : '');
  }
  if (isUsed) {
    node('Mul', ['present.0.key', number(2)], {}, 'doubled');
    outputs.push({ name: 'doubled', dtype: 'float32', dims: ['batch', kvHeads, 'total', size] });
  }
  const pasts = Array.from({ length: layers }, (_, i) => ['key', 'value'].map((what) => `past.${i}.${what}`)).flat();
  return writeModel({
    graph: {
      nodes,
      initializers,
      inputs: [
        { name: 'x', dtype: 'float32', dims: ['batch', 'rows', width] },
        ...(padding ? [{ name: 'mask', dtype: 'int64' as const, dims: ['batch', 'total_length'] }] : []),
        ...pasts.map((name) => ({
          name,
          dtype: 'float32' as const,
          dims: rowsFirst ? ['batch', 'past_length', kvHeads, size] : ['batch', kvHeads, 'past_length', size],
        })),
      ],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['batch', 'rows', width] }, ...outputs],
    },
  });
}
