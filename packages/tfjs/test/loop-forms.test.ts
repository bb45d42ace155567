/** Loops of cells that nobody calls by a name: what a program cannot say stays with tfjs, and nothing is silently another number. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadGraphModel, register, reportOf, unregister } from '../src/index.ts';
import {
  artifactsOf,
  b64,
  FLOAT,
  floats,
  type GraphEntry,
  handlerOf,
  ints,
  type NodeEntry,
  placeholder,
} from './graph.ts';
import { type KerasLoop, kerasLoop } from './keras-loops.ts';
import { BACKENDS, gaussian, random, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const [K, UNITS] = [23, 36];
const BODY = 'while/body/_1';

interface Change {
  readonly loop?: Partial<KerasLoop>;
  /** New nodes; those of a name that is there replace it. */
  readonly nodes: readonly NodeEntry[];
  readonly weights?: GraphEntry['weights'];
  readonly outputs?: readonly string[];
}

const op = (name: string, of: string, input: string[], attr: Record<string, unknown> = {}): NodeEntry => ({
  name,
  op: of,
  input,
  attr: { T: FLOAT, ...attr },
});

const number = (name: string, value: number): GraphEntry['weights'][number] => ({
  name,
  shape: [],
  values: Float32Array.of(value),
});

function changed({ loop, nodes, weights = [], outputs }: Change): GraphEntry {
  const entry = kerasLoop({ kind: 'simple', K, units: UNITS, stored: 'uint8', ...loop });
  const names = new Set(nodes.map(({ name }) => name));
  return {
    ...entry,
    nodes: [...entry.nodes.filter(({ name }) => !names.has(name)), ...nodes],
    weights: [...entry.weights, ...weights],
    outputs: outputs ?? entry.outputs!,
  };
}

const frame = (isConstant: boolean) => ({
  frame_name: b64('while/while_context'),
  parallel_iterations: { i: '32' },
  is_constant: { b: isConstant },
});

/** A further state of the loop; its Exit is an output. */
const state = (name: string, initial: string, next: string): NodeEntry[] => [
  op(`while/enter/${name}`, 'Enter', [initial], frame(false)),
  op(`while/merge/${name}`, 'Merge', [`while/enter/${name}`, `while/next_iteration/${name}`], { N: { i: '2' } }),
  op(`while/switch/${name}`, 'Switch', [`while/merge/${name}`, 'while/loop_cond']),
  op(`while/next_iteration/${name}`, 'NextIteration', [next]),
  op(`while/exit/${name}`, 'Exit', [`while/switch/${name}`]),
  op(name, 'Identity', [`while/exit/${name}`]),
];

const writes = (value: string): NodeEntry =>
  op(`${BODY}/write`, 'TensorListSetItem', ['while/switch/list:1', 'while/switch/time:1', value], {
    element_dtype: FLOAT,
  });

const feedsOf = (entry: GraphEntry, batch: number, positions: number) =>
  tf.tidy(() => ({
    x: tensor(3, [batch, positions, entry.nodes.some(({ name }) => name === `${BODY}/transposed`) ? UNITS : K]),
    ...(entry.nodes.some(({ name }) => name === 'wide0') && { wide0: tensor(8, [batch, 2 * UNITS]) }),
    ...(entry.nodes.some(({ name }) => name === 'gaps') && {
      gaps: tensor(5, [positions, batch, 1]),
      gap0: tensor(6, [batch, 1]),
    }),
    ...(entry.nodes.some(({ name }) => name === 'mask') && { mask: tf.greater(tensor(9, [batch, positions]), -0.3) }),
  }));

/** A wide state that leaks, and a part of it. */
const wide = (part: string, next: string): NodeEntry[] => [
  placeholder('wide0'),
  ...state('wide', 'wide0', `${BODY}/wide_next`),
  op('while/fixed/r2', 'Enter', ['r2'], frame(true)),
  op(`${BODY}/wide_product`, 'MatMul', ['while/switch/wide:1', 'while/fixed/r2']),
  op(`${BODY}/leak`, 'Mul', ['while/switch/wide:1', 'decay']),
  op(`${BODY}/wide_next`, 'AddV2', [`${BODY}/leak`, next]),
  op(`${BODY}/half`, 'Split', ['split_dim', `${BODY}/${part}`], { num_split: { i: '2' } }),
  op(`${BODY}/told`, 'AddV2', [`${BODY}/act`, `${BODY}/half:1`]),
  writes(`${BODY}/told`),
];

const WIDE = [
  floats('r2', [2 * UNITS, 2 * UNITS], 'uint8'),
  { name: 'decay', shape: [2 * UNITS], values: gaussian(6, 2 * UNITS) },
];

const table = (shape: number[], stored?: 'uint8'): Change => ({
  nodes: [
    op('while/fixed/table', 'Enter', ['table'], frame(true)),
    op(`${BODY}/row`, 'GatherV2', ['while/fixed/table', 'while/switch/time:1', 'number0'], { batch_dims: { i: '0' } }),
    op(`${BODY}/told`, 'AddV2', [`${BODY}/act`, `${BODY}/row`]),
    writes(`${BODY}/told`),
  ],
  weights: [floats('table', shape, stored)],
});

/** What is changed, and why the loop stays; nothing: it is taken. */
const CASES: Readonly<Record<string, readonly [Change, string?]>> = {
  'a number that JSON does not have': [
    {
      nodes: [op(`${BODY}/told`, 'Minimum', [`${BODY}/act`, 'most']), writes(`${BODY}/told`)],
      weights: [number('most', Number.POSITIVE_INFINITY)],
    },
    'the number Infinity',
  ],
  'weights as they are and transposed': [
    {
      loop: { K: UNITS },
      nodes: [
        op(`${BODY}/transposed`, 'MatMul', [`${BODY}/read`, 'while/switch/kernel:1'], { transpose_b: { b: true } }),
        op(`${BODY}/told`, 'Sub', [`${BODY}/act`, `${BODY}/transposed`]),
        writes(`${BODY}/told`),
      ],
    },
    'kernel as it is and transposed, both in the loop',
  ],
  'products of a batch of matrices': [
    {
      nodes: [op(`${BODY}/MatMul_1`, 'BatchMatMulV2', ['while/switch/h:1', 'while/switch/recurrent_kernel:1'])],
    },
    'BatchMatMulV2 of more than rows and a matrix',
  ],
  'a table of positions that is packed': [table([200, UNITS], 'uint8'), 'table is packed, and read in the loop'],
  'a small table of positions': [table([12, UNITS])],
  'a part of the next wide state, told': [
    { nodes: wide('wide_next', `${BODY}/wide_product`), weights: WIDE, outputs: ['sequence', 'wide'] },
  ],
  'a part of the last wide state, told': [
    { nodes: wide('leak', `${BODY}/wide_product`), weights: WIDE, outputs: ['sequence', 'wide'] },
  ],
  'states of two widths, each made of the other': [
    {
      nodes: [
        ...wide('leak', `${BODY}/from_h`),
        op('while/fixed/r3', 'Enter', ['r3'], frame(true)),
        op(`${BODY}/both`, 'MatMul', ['while/switch/h:1', 'while/fixed/r3']),
        op(`${BODY}/from_h`, 'AddV2', [`${BODY}/both`, `${BODY}/wide_product`]),
        op('while/next_iteration/h', 'NextIteration', [`${BODY}/told`]),
      ],
      weights: [...WIDE, floats('r3', [UNITS, 2 * UNITS], 'uint8')],
      outputs: ['sequence', 'wide'],
    },
  ],
  'a state that is one number of each row': [
    {
      nodes: [
        placeholder('gaps'),
        placeholder('gap0'),
        ...state('gap', 'gap0', `${BODY}/gap`),
        op('gap_list', 'TensorListFromTensor', ['gaps', 'element_of_x'], { element_dtype: FLOAT }),
        op('while/fixed/gap_list', 'Enter', ['gap_list'], { ...frame(true), T: { type: 'DT_VARIANT' } }),
        op(`${BODY}/gap`, 'TensorListGetItem', ['while/fixed/gap_list', 'while/switch/time:1', 'element_of_x'], {
          element_dtype: FLOAT,
        }),
        op(`${BODY}/scaled`, 'Mul', ['while/switch/h:1', `${BODY}/gap`]),
        op(`${BODY}/MatMul_1`, 'MatMul', [`${BODY}/scaled`, 'while/switch/recurrent_kernel:1']),
      ],
      outputs: ['sequence', 'gap'],
    },
    'a result of unknown width',
  ],
  'a mask of rows, spread in the loop': [
    {
      loop: { masked: true },
      nodes: [
        op('mask_turned', 'Transpose', ['mask', 'turn2'], { T: { type: 'DT_BOOL' } }),
        op('mask_list', 'TensorListFromTensor', ['mask_turned', 'element1'], { element_dtype: { type: 'DT_BOOL' } }),
        op(`${BODY}/read_mask`, 'TensorListGetItem', ['while/switch/masks:1', 'while/switch/time:1', 'element1'], {
          element_dtype: { type: 'DT_BOOL' },
        }),
        op(`${BODY}/spread`, 'ExpandDims', [`${BODY}/read_mask`, 'last_axis']),
        op(`${BODY}/tiled`, 'Tile', [`${BODY}/spread`, 'tile']),
      ],
      weights: [ints('turn2', [1, 0]), ints('element1', [-1])],
    },
  ],
};

describe.each(BACKENDS)('on %s, loops with', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(Object.entries(CASES))('%s: as stock', async (_, [change, reason]) => {
    const entry = changed(change);
    const artifacts = artifactsOf(entry);
    await withoutLeaks(async () => {
      const [stock, model] = [
        await tf.loadGraphModel(handlerOf(artifacts)),
        await loadGraphModel(handlerOf(artifacts)),
      ];
      const loop = reportOf(model)!.nodes.find(({ op: of }) => of === 'LoopCond')!;
      expect([loop.where, loop.reason]).toEqual(reason ? ['tfjs', reason] : ['msd', undefined]);
      for (const [batch, positions] of [
        [1, 5],
        [3, 4],
      ] as const) {
        const feeds = feedsOf(entry, batch, positions);
        const run = async (of: tf.GraphModel) => [await of.executeAsync(feeds as never, [...entry.outputs!])].flat();
        const [want, got] = [await run(stock), await run(model)];
        expect(got.map(({ shape }) => shape)).toEqual(want.map(({ shape }) => shape));
        for (const [i, own] of got.entries())
          expect(relativeL2(await own.data(), await want[i]!.data()), `output ${i}`).toBeLessThan(2e-4);
        tf.dispose([feeds, want, got] as never);
      }
      stock.dispose();
      model.dispose();
    });
  });

  it.each([
    ['a chain of thousands of operations', 3000],
    ['a circle', 0],
  ])('%s: they stay', async (_, length) => {
    const chain = Array.from({ length }, (_, i) => op(`${BODY}/c${i}`, 'Neg', [`${BODY}/${i ? `c${i - 1}` : 'act'}`]));
    const circle = [op(`${BODY}/c0`, 'Add', [`${BODY}/act`, `${BODY}/c1`]), op(`${BODY}/c1`, 'Neg', [`${BODY}/c0`])];
    const entry = changed({ nodes: [...(length ? chain : circle), writes(`${BODY}/c${length ? length - 1 : 1}`)] });
    const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
    expect(reportOf(model)!.nodes.find(({ op: of }) => of === 'LoopCond')!.reason).toBe(
      'a chain of more than 1000 operations, or a circle',
    );
    model.dispose();
  });

  it('a number that is doubled many times', async () => {
    const doubled = Array.from({ length: 60 }, (_, i) =>
      op(`${BODY}/d${i}`, 'Maximum', [`${BODY}/${i ? `d${i - 1}` : 'act'}`, `${BODY}/${i ? `d${i - 1}` : 'act'}`]),
    );
    const entry = changed({ nodes: [...doubled, writes(`${BODY}/d59`)] });
    const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
    const [x, plain] = [tensor(3, [2, 3, K]), await loadGraphModel(handlerOf(artifactsOf(changed({ nodes: [] }))))];
    expect(Array.from((model.execute({ x }, 'sequence') as tf.Tensor).dataSync())).toEqual(
      Array.from((plain.execute({ x }, 'sequence') as tf.Tensor).dataSync()),
    );
  });
});

describe('loops that are damaged', () => {
  beforeAll(() => useBackend('cpu'));

  it.each(['frames', 'while'] as const)('anywhere, of %s: what stock loads is loaded', async (form) => {
    const { nodes, functions, ...entry } = kerasLoop({ kind: 'lstm', K, units: UNITS, form, stored: 'uint8' });
    const next = random(7);
    const pick = (count: number) => Math.floor(next() * count);
    type Node = { name: string; op: string; input?: string[]; attr?: object };
    for (let i = 0; i < 150; i++) {
      const graph = structuredClone({ nodes, functions }) as { nodes: Node[]; functions?: { nodeDef: Node[] }[] };
      const lists = [graph.nodes, ...(graph.functions ?? []).map(({ nodeDef }) => nodeDef)];
      for (let edits = 1 + pick(3); edits > 0; edits--) {
        const list = lists[pick(lists.length)]!;
        const node = list[pick(list.length)]!;
        const { input = [] } = node;
        const edit = pick(5);
        if (edit === 0 && input.length) input[pick(input.length)] = list[pick(list.length)]!.name;
        else if (edit === 1) input.splice(pick(input.length), 1);
        else if (edit === 2) node.attr = {};
        else if (edit === 3) node.op = list[pick(list.length)]!.op;
        else input.reverse();
      }
      const artifacts = artifactsOf({ ...entry, ...graph } as GraphEntry);
      const stock = await tf.loadGraphModel(handlerOf(artifacts)).catch(() => undefined);
      if (!stock) continue;
      stock.dispose();
      (await loadGraphModel(handlerOf(artifacts))).dispose();
    }
  });
});
