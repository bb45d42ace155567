import { describe, expect, it } from 'vitest';
import { loadOperators } from '../src/execute/families.ts';
import { buildGraph, type Graph } from '../src/ir/graph.ts';
import { inferTypes } from '../src/ir/infer.ts';
import { selectEarly } from '../src/passes/select-early.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { reportOf } from '../src/register.ts';
import type { NodeSpec, TensorSpec } from '../src/write/index.ts';
import { gaussian, makeMatrix, model, random } from './models.ts';
import { floats, session, tensor } from './ort.ts';

await loadOperators();

const H = 64;
const V = 40;
const [gate, up, down, head] = [
  makeMatrix({ name: 'gate', N: 96, K: H, seed: 1 }),
  makeMatrix({ name: 'up', N: 96, K: H, seed: 2 }),
  makeMatrix({ name: 'down', N: H, K: 96, seed: 3 }),
  makeMatrix({ name: 'head', N: V, K: H, seed: 4 }),
];
const scale = { name: 'scale', dtype: 'float32', dims: [H], data: gaussian(random(5), H) } as const;
const bias = { name: 'bias', dtype: 'float32', dims: [1, 1, H], data: gaussian(random(6), H) } as const;
const ints = (name: string, values: readonly number[], dims: readonly number[] = [values.length]): TensorSpec => ({
  name,
  dtype: 'int64',
  dims,
  data: BigInt64Array.from(values, BigInt),
});
const norm = (x: string, y: string): NodeSpec => ({
  opType: 'SimplifiedLayerNormalization',
  inputs: [x, 'scale'],
  outputs: [y],
  attributes: { axis: { int: -1 } },
});
const op = (opType: string, inputs: readonly string[], output: string): NodeSpec => ({
  opType,
  inputs,
  outputs: [output],
});

/** A feed-forward layer with its residual, a norm, and the head. */
const layer = (h: string): NodeSpec[] => [
  norm(h, 'normed'),
  gate.node('normed', 'g'),
  up.node('normed', 'u'),
  op('Sigmoid', ['g'], 'sigmoid'),
  op('Mul', ['g', 'sigmoid'], 'silu'),
  op('Mul', ['silu', 'u'], 'gated'),
  down.node('gated', 'd'),
  op('Add', [h, 'd'], 'sum'),
  norm('sum', 'last'),
  head.node('last', 'all'),
];

interface Form {
  readonly nodes: readonly NodeSpec[];
  readonly tensors?: readonly TensorSpec[];
  readonly outputs?: readonly string[];
  readonly dims?: readonly (number | string)[];
}

function build({ nodes, tensors = [], outputs = ['y'], dims = ['batch', 'sequence', H] }: Form): Uint8Array {
  return model({
    nodes,
    initializers: [...[gate, up, down, head].flatMap((each) => each.initializers), scale, bias, ...tensors],
    inputs: [{ name: 'x', dtype: 'float32', dims }],
    outputs: outputs.map((name) => ({ name, dtype: 'float32' as const })),
  });
}

function moved(bytes: Uint8Array): { readonly before: Graph; readonly after: Graph } {
  const record = readModel(bytesSource(bytes));
  const before = buildGraph(record);
  return { before, after: selectEarly(record, inferTypes(before)) };
}

const gather = (index: string, axis = 1): NodeSpec => ({
  ...op('Gather', ['all', index], 'y'),
  attributes: { axis: { int: axis } },
});
const slice = (...inputs: string[]): NodeSpec => op('Slice', ['all', ...inputs], 'y');

/** What chooses, its constants, and which positions of five it takes. */
const CHOICES: readonly [string, NodeSpec, readonly TensorSpec[], readonly number[]][] = [
  ['the last position, as a scalar', gather('i'), [ints('i', [-1], [])], [4]],
  ['the last position, as a list', gather('i'), [ints('i', [-1])], [4]],
  ['some positions, from the back', gather('i', -2), [ints('i', [3, 0, -1])], [3, 0, 4]],
  ['a slice of one', slice('b', 'e', 'axes'), [ints('b', [-1]), ints('e', [2 ** 40]), ints('axes', [1])], [4]],
  [
    'a slice with steps',
    slice('b', 'e', 'axes', 'steps'),
    [ints('b', [-1]), ints('e', [-6]), ints('axes', [-2]), ints('steps', [-2])],
    [4, 2, 0],
  ],
];

describe('choices of positions', () => {
  it.each(CHOICES)('goes in front of head, norm and the layer: %s', async (_, choice, tensors, positions) => {
    const nodes = [op('Add', ['x', 'bias'], 'h'), op('Softsign', ['h'], 'start'), ...layer('start')];
    const { after } = moved(build({ nodes: [...nodes, choice], tensors }));
    const byOutput = (name: string) => after.producers.get(name)!.opType;
    expect(after.nodes.at(-1)!.opType).toBe('MatMulNBits');
    expect(byOutput('y')).toBe('MatMulNBits');
    // Both paths of the residual meet in front of one choice.
    const kept = after.nodes.filter(({ opType }) => opType === choice.opType);
    // A bias of rank 3 would not fit what has lost a dimension.
    const drops = tensors[0]!.dims.length === 0;
    expect(kept.map(({ inputs }) => inputs[0])).toEqual([drops ? 'h' : 'x']);

    const x = tensor(gaussian(random(7), 2 * 5 * H), [2, 5, H]);
    const early = await session(build({ nodes: [...nodes, choice], tensors }));
    const whole = await session(build({ nodes, outputs: ['all'] }));
    const all = floats((await whole.run({ x })).all);
    const { y } = await early.run({ x });
    const expected = [0, 1].flatMap((batch) =>
      positions.flatMap((position) => [...all.subarray((5 * batch + position) * V, (5 * batch + position + 1) * V)]),
    );
    expect(y!.dims).toEqual(drops ? [2, V] : [2, positions.length, V]);
    expect([...floats(y)]).toEqual(expected);
    expect(reportOf(early)!.regions.map(({ where }) => where)).toEqual(['msd']);
    await early.release();
    await whole.release();
  });

  it('takes an index that the caller gives', async () => {
    const bytes = model({
      nodes: [head.node('x', 'all'), gather('i')],
      initializers: [...head.initializers],
      inputs: [
        { name: 'x', dtype: 'float32', dims: [1, 'sequence', H] },
        { name: 'i', dtype: 'int64', dims: [1] },
      ],
      outputs: [{ name: 'y', dtype: 'float32' }],
    });
    const { after } = moved(bytes);
    expect(after.nodes.map(({ opType }) => opType)).toEqual(['Gather', 'MatMulNBits']);
  });

  const last = [ints('i', [-1])];
  it.each<[string, Form]>([
    ['nothing is chosen', { nodes: layer('x'), outputs: ['all'] }],
    ['all logits are an output, too', { nodes: [...layer('x'), gather('i')], tensors: last, outputs: ['y', 'all'] }],
    [
      'something else needs all logits',
      { nodes: [...layer('x'), gather('i'), op('Exp', ['all'], 'z')], tensors: last, outputs: ['y', 'z'] },
    ],
    [
      'the index comes from their shape',
      {
        nodes: [
          ...layer('x'),
          op('Shape', ['all'], 'shape'),
          op('Gather', ['shape', 'one'], 'length'),
          op('Sub', ['length', 'one'], 'i'),
          gather('i'),
        ],
        tensors: [ints('one', [1])],
      },
    ],
    ['tokens are chosen, not positions', { nodes: [...layer('x'), gather('i', 2)], tensors: last }],
    ['the index is a matrix', { nodes: [...layer('x'), gather('i')], tensors: [ints('i', [0, 1], [2, 1])] }],
    ['no product is saved', { nodes: [op('Exp', ['x'], 'all'), gather('i')], tensors: last }],
    [
      'the norm is over positions, too',
      {
        nodes: [{ ...norm('x', 'all'), attributes: { axis: { int: 1 } } }, gather('i')],
        tensors: last,
        dims: ['batch', 5, H],
      },
    ],
  ])('leaves the graph as it is where %s', (_, form) => {
    const { before, after } = moved(build(form));
    expect(after).toBe(before);
  });

  it('stops where the whole value is needed', () => {
    const { after } = moved(build({ nodes: [...layer('x'), gather('i')], tensors: last, outputs: ['y', 'gated'] }));
    expect(
      after.nodes
        .filter(({ opType }) => opType === 'Gather')
        .map(({ inputs }) => inputs[0])
        .sort(),
    ).toEqual(['gated', 'x']);
  });
});
