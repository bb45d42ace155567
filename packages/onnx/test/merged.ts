/** A decoder as merging tools leave it: everything in one If, weights outside, keys and values of an encoder among the cache. */
import { type GraphSpec, type NodeSpec, type TensorSpec, type ValueSpec, writeModel } from '../src/write/index.ts';
import { type Matrix, makeMatrix } from './models.ts';

export const MERGED = { heads: 2, size: 16, width: 32, vocabulary: 40 } as const;

export interface Merged {
  /** What later runs give as the encoder's keys: those that they got, or nothing. */
  readonly encoder: 'same' | 'empty';
  /** The condition: an input, or whether the past has positions. */
  readonly decidedBy?: 'flag' | 'past';
}

const { heads, size, width, vocabulary } = MERGED;

/** Inputs x [b, rows, 32], states [b, frames, 32], past.{decoder,encoder}.{key,value}, flag; outputs logits, present.*. */
export function mergedModel({ encoder, decidedBy = 'flag' }: Merged): Uint8Array {
  const matrices = Object.fromEntries(
    ['q', 'k', 'v', 'o', 'cq', 'ck', 'cv', 'co', 'head'].map((name, i) => [
      name,
      makeMatrix({ name, N: name === 'head' ? vocabulary : width, K: width, seed: i + 1 }),
    ]),
  ) as Record<string, Matrix>;
  const four = (name: string, rows: string): ValueSpec => ({ name, dtype: 'float32', dims: ['b', heads, rows, size] });
  const caches = ['decoder', 'encoder'].flatMap((side) => ['key', 'value'].map((part) => `${side}.${part}`));
  const outputs = [
    { name: 'logits', dtype: 'float32' as const, dims: ['b', 'rows', vocabulary] },
    ...caches.map((name) => four(`present.${name}`, name.startsWith('decoder') ? 'total' : 'frames_out')),
  ];
  const decide: NodeSpec[] = [
    op('Shape', ['past.decoder.key'], 'past_shape'),
    op('Gather', ['past_shape', 'two'], 'past_rows'),
    op('Greater', ['past_rows', 'zero'], 'has_past'),
  ];
  return writeModel({
    graph: {
      nodes: [
        ...(decidedBy === 'past' ? decide : []),
        {
          opType: 'If',
          name: 'merged',
          inputs: [decidedBy === 'past' ? 'has_past' : 'flag'],
          outputs: outputs.map(({ name }) => name),
          attributes: {
            then_branch: { graph: branch(matrices, outputs, encoder) },
            else_branch: { graph: branch(matrices, outputs, undefined) },
          },
        },
      ],
      initializers: [
        ...Object.values(matrices).flatMap(({ initializers }) => initializers),
        { name: 'split', dtype: 'int64', dims: [4], data: BigInt64Array.of(0n, 0n, BigInt(heads), BigInt(size)) },
        { name: 'join', dtype: 'int64', dims: [3], data: BigInt64Array.of(0n, 0n, BigInt(width)) },
        { name: 'root', dtype: 'float32', dims: [], data: Float32Array.of(Math.sqrt(size)) },
        { name: 'two', dtype: 'int64', dims: [], data: BigInt64Array.of(2n) },
        { name: 'zero', dtype: 'int64', dims: [], data: BigInt64Array.of(0n) },
      ],
      inputs: [
        { name: 'x', dtype: 'float32', dims: ['b', 'rows', width] },
        { name: 'states', dtype: 'float32', dims: ['b', 'frames', width] },
        ...caches.map((name) => four(`past.${name}`, name.startsWith('decoder') ? 'past' : 'past_frames')),
        ...(decidedBy === 'flag' ? [{ name: 'flag', dtype: 'bool' as const, dims: [1] }] : []),
      ],
      outputs,
    },
  });
}

const op = (
  opType: string,
  inputs: readonly string[],
  output: string,
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({ opType, name: output, inputs, outputs: [output], attributes });

/** @param encoder of a branch with a past */
function branch(
  matrices: Record<string, Matrix>,
  outputs: readonly ValueSpec[],
  encoder: Merged['encoder'] | undefined,
): GraphSpec {
  const nodes: NodeSpec[] = [];
  const turned = { perm: { ints: [0, 2, 1, 3] } };
  const split = (x: string, name: string, to = `${name}_heads`): string => {
    nodes.push(
      matrices[name]!.node(x, `${name}_rows`),
      op('Reshape', [`${name}_rows`, 'split'], `${name}_four`),
      op('Transpose', [`${name}_four`], to, turned),
    );
    return to;
  };
  const attend = (at: string, q: string, k: string, v: string): string => {
    nodes.push(
      op('Transpose', [k], `${at}_t`, { perm: { ints: [0, 1, 3, 2] } }),
      op('MatMul', [q, `${at}_t`], `${at}_product`),
      op('Div', [`${at}_product`, 'root'], `${at}_scores`),
      op('Softmax', [`${at}_scores`], `${at}_weights`, { axis: { int: -1 } }),
      op('MatMul', [`${at}_weights`, v], `${at}_sum`),
      op('Transpose', [`${at}_sum`], `${at}_side`, turned),
      op('Reshape', [`${at}_side`, 'join'], `${at}_out`),
    );
    return `${at}_out`;
  };
  const joined = (name: string, part: string): string => {
    const present = `present.decoder.${part}`;
    if (encoder === undefined) return split('x', name, present);
    nodes.push(op('Concat', [`past.decoder.${part}`, split('x', name)], present, { axis: { int: 2 } }));
    return present;
  };
  const self = attend('self', split('x', 'q'), joined('k', 'key'), joined('v', 'value'));
  nodes.push(matrices.o!.node(self, 'o_out'), op('Add', ['x', 'o_out'], 'first'));
  const given = (name: string, part: string): string =>
    encoder === undefined ? split('states', name, `present.encoder.${part}`) : `past.encoder.${part}`;
  const cross = attend('cross', split('first', 'cq'), given('ck', 'key'), given('cv', 'value'));
  nodes.push(matrices.co!.node(cross, 'co_out'), op('Add', ['first', 'co_out'], 'second'));
  nodes.push(matrices.head!.node('second', 'logits'));
  const empty: TensorSpec = { name: 'nothing', dtype: 'float32', dims: [0, heads, 1, size], data: new Float32Array(0) };
  for (const part of encoder === undefined ? [] : ['key', 'value']) {
    const output = `present.encoder.${part}`;
    if (encoder === 'same') nodes.push(op('Identity', [`past.encoder.${part}`], output));
    else nodes.push({ opType: 'Constant', inputs: [], outputs: [output], attributes: { value: { tensor: empty } } });
  }
  return { nodes, inputs: [], outputs };
}
