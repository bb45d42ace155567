/** A decoder as merging tools leave it: everything in one If, weights outside, keys and values of an encoder among the cache. */
import { type GraphSpec, type NodeSpec, type TensorSpec, type ValueSpec, writeModel } from '../src/write/index.ts';
import { type Matrix, makeMatrix } from './models.ts';

export const MERGED = { heads: 2, size: 16, width: 32, vocabulary: 40 } as const;

export interface Merged {
  /** What later runs give as the encoder's keys: those that they got, or nothing. */
  readonly encoder: 'same' | 'empty';
  /** The condition: an input, or whether the past has positions. */
  readonly decidedBy?: 'flag' | 'past';
  /** Batch and heads in one, for products of three dimensions, as older exports have it; a causal mask beside it. */
  readonly isFlat?: boolean;
  /** Hands out what cross-attention weighs with, as Whisper does for the times of words. */
  readonly showsWeights?: boolean;
}

const { heads, size, width, vocabulary } = MERGED;

/** Inputs x [b, rows, 32], states [b, frames, 32], past.{decoder,encoder}.{key,value}, flag; outputs logits, present.*. */
export const mergedModel = (options: Merged): Uint8Array => writeModel({ graph: mergedGraph(options) });

/** The graph of {@link mergedModel}. */
export function mergedGraph({ encoder, decidedBy = 'flag', isFlat = false, showsWeights = false }: Merged): GraphSpec {
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
    ...(showsWeights ? [{ ...four('cross_weights', 'rows'), dims: ['b', heads, 'rows', 'frames_out'] }] : []),
  ];
  const decide: NodeSpec[] = [
    op('Shape', ['past.decoder.key'], 'past_shape'),
    op('Gather', ['past_shape', 'two'], 'past_rows'),
    op('Greater', ['past_rows', 'zero'], 'has_past'),
  ];
  return {
    nodes: [
      ...(decidedBy === 'past' ? decide : []),
      {
        opType: 'If',
        name: 'merged',
        inputs: [decidedBy === 'past' ? 'has_past' : 'flag'],
        outputs: outputs.map(({ name }) => name),
        attributes: {
          then_branch: { graph: branch(matrices, outputs, encoder, isFlat) },
          else_branch: { graph: branch(matrices, outputs, undefined, isFlat) },
        },
      },
    ],
    initializers: [
      ...Object.values(matrices).flatMap(({ initializers }) => initializers),
      { name: 'split', dtype: 'int64', dims: [4], data: BigInt64Array.of(0n, 0n, BigInt(heads), BigInt(size)) },
      { name: 'join', dtype: 'int64', dims: [3], data: BigInt64Array.of(0n, 0n, BigInt(width)) },
      { name: 'root', dtype: 'float32', dims: [], data: Float32Array.of(Math.sqrt(size)) },
      { name: 'two', dtype: 'int64', dims: [], data: BigInt64Array.of(2n) },
      ...Object.entries({ front: 0, back: 1, minus: -1, heads, channels: size }).map(
        ([name, value]): TensorSpec => ({ name, dtype: 'int64', dims: [1], data: BigInt64Array.of(BigInt(value)) }),
      ),
      { name: 'step', dtype: 'int64', dims: [], data: BigInt64Array.of(1n) },
      { name: 'lowest', dtype: 'float32', dims: [], data: Float32Array.of(-3.4028234663852886e38) },
      { name: 'nothing_added', dtype: 'float32', dims: [], data: Float32Array.of(0) },
      { name: 'zero', dtype: 'int64', dims: [], data: BigInt64Array.of(0n) },
    ],
    inputs: [
      { name: 'x', dtype: 'float32', dims: ['b', 'rows', width] },
      { name: 'states', dtype: 'float32', dims: ['b', 'frames', width] },
      ...caches.map((name) =>
        four(
          `past.${name}`,
          name.startsWith('decoder') ? 'past' : showsWeights ? 'past_encoder_frames' : 'past_frames',
        ),
      ),
      ...(decidedBy === 'flag' ? [{ name: 'flag', dtype: 'bool' as const, dims: [1] }] : []),
    ],
    outputs,
  };
}

/** A node named after its output. */
export const op = (
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
  isFlat: boolean,
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
  const sizeOf = (x: string, axis: 'zero' | 'two', to: string): string => {
    nodes.push(op('Shape', [x], `${to}_shape`), op('Gather', [`${to}_shape`, axis], `${to}_size`));
    nodes.push(op('Unsqueeze', [`${to}_size`, 'front'], to));
    return to;
  };
  const flat = (x: string, to: string): string => {
    const batch = sizeOf(x, 'zero', `${to}_batch`);
    nodes.push(
      op('Mul', [batch, 'heads'], `${to}_first`),
      op('Concat', [`${to}_first`, 'minus', 'channels'], `${to}_dims`, { axis: { int: 0 } }),
      op('Reshape', [x, `${to}_dims`], to),
    );
    return to;
  };
  /** No key after a query's own position. */
  const masked = (scores: string, q: string, k: string): string => {
    const parts = [
      sizeOf(q, 'zero', 'mask_batch'),
      'heads',
      sizeOf(q, 'two', 'mask_rows'),
      sizeOf(k, 'two', 'mask_keys'),
    ];
    if (encoder !== undefined) sizeOf('past.decoder.key', 'two', 'mask_past');
    const begin = encoder === undefined ? 'zero' : 'mask_past_size';
    nodes.push(
      op('Shape', ['x'], 'mask_x'),
      op('Gather', ['mask_x', 'step'], 'mask_new'),
      op('Add', [begin, 'mask_new'], 'mask_end'),
      op('Range', [begin, 'mask_end', 'step'], 'mask_own'),
      op('Range', ['zero', 'mask_end', 'step'], 'mask_all'),
      op('Unsqueeze', ['mask_own', 'back'], 'mask_column'),
      op('Greater', ['mask_all', 'mask_column'], 'mask_later'),
      op('Where', ['mask_later', 'lowest', 'nothing_added'], 'mask'),
      op('Concat', parts, 'mask_four', { axis: { int: 0 } }),
      op('Reshape', [scores, 'mask_four'], 'mask_apart'),
      op('Add', ['mask_apart', 'mask'], 'mask_added'),
      op('Mul', ['mask_batch', 'heads'], 'mask_first'),
      op('Concat', ['mask_first', 'mask_rows', 'mask_keys'], 'mask_three', { axis: { int: 0 } }),
      op('Reshape', ['mask_added', 'mask_three'], 'mask_joined'),
    );
    return 'mask_joined';
  };
  const attendFlat = (at: string, q: string, k: string, v: string): string => {
    nodes.push(op('Div', [q, 'root'], `${at}_scaled`));
    const parts = [sizeOf(q, 'zero', `${at}_b`), 'heads', sizeOf(q, 'two', `${at}_r`), 'channels'];
    const [queries, keys, values] = [flat(`${at}_scaled`, `${at}_q3`), flat(k, `${at}_k3`), flat(v, `${at}_v3`)];
    nodes.push(
      op('Transpose', [keys], `${at}_t`, { perm: { ints: [0, 2, 1] } }),
      op('MatMul', [queries, `${at}_t`], `${at}_product`),
    );
    const scores = at === 'self' ? masked(`${at}_product`, q, k) : `${at}_product`;
    nodes.push(
      op('Softmax', [scores], `${at}_weights`, { axis: { int: -1 } }),
      op('MatMul', [`${at}_weights`, values], `${at}_sum`),
      op('Concat', parts, `${at}_four`, { axis: { int: 0 } }),
      op('Reshape', [`${at}_sum`, `${at}_four`], `${at}_apart`),
      op('Transpose', [`${at}_apart`], `${at}_side`, turned),
      op('Reshape', [`${at}_side`, 'join'], `${at}_out`),
    );
    return `${at}_out`;
  };
  const attend = (at: string, q: string, k: string, v: string): string => {
    if (isFlat) return attendFlat(at, q, k, v);
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
