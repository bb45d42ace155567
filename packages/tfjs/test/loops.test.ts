/** Whole loops of recurrent layers in graph models, as Keras and tfjs-converter write them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accelerate, loadGraphModel, register, reportOf, unregister } from '../src/index.ts';
import { artifactsOf, type GraphEntry, handlerOf, savedGraph } from './graph.ts';
import { type CellKind, type KerasLoop, kerasLoop } from './keras-loops.ts';
import { BACKENDS, random, relativeL2, tensor, tf, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

const KINDS: readonly CellKind[] = ['lstm', 'gru', 'gruBefore', 'simple', 'basic'];
const [K, UNITS] = [23, 37];

interface Sizes {
  readonly batch?: number;
  readonly positions?: number;
}

async function run(model: tf.GraphModel, entry: GraphEntry, { batch = 1, positions = 5 }: Sizes = {}) {
  const outputs = [...entry.outputs!];
  const isMasked = entry.nodes.some(({ name }) => name === 'mask');
  const feeds = tf.tidy(() => ({
    x: tensor(3, [batch, positions, K]),
    ...(entry.nodes.some(({ name }) => name === 'lengths') && {
      lengths: tf.tensor1d(
        Array.from({ length: batch }, (_, b) => positions - b),
        'int32',
      ),
    }),
    ...(isMasked && { mask: tf.greater(tensor(9, [batch, positions]), -0.3) }),
  }));
  const made = [await model.executeAsync(feeds as never, outputs)].flat();
  const values = made.map((y) => ({ shape: y.shape, values: y.dataSync().slice() as Float32Array }));
  tf.dispose([made, feeds] as never);
  return values;
}

/** What is left of the errors of 16-bit activations after some positions. */
const NEAR = 2e-4;

function expectNear(got: Awaited<ReturnType<typeof run>>, want: Awaited<ReturnType<typeof run>>, limit = NEAR): void {
  expect(got.map(({ shape }) => shape)).toEqual(want.map(({ shape }) => shape));
  for (const [i, { values }] of got.entries())
    expect(relativeL2(values, want[i]!.values), `output ${i}`).toBeLessThan(limit);
}

const loopsOf = (model: tf.GraphModel) =>
  reportOf(model)!.nodes.filter(({ op }) => op === 'LoopCond' || op === 'StatelessWhile');

async function bothOf(entry: GraphEntry): Promise<[tf.GraphModel, tf.GraphModel]> {
  const artifacts = artifactsOf(entry);
  return [await tf.loadGraphModel(handlerOf(artifacts)), await loadGraphModel(handlerOf(artifacts))];
}

const CASES: Readonly<Record<string, Partial<KerasLoop>>> = {
  'of frames, weights passed on': {},
  'of frames, weights read inside': { weights: 'read' },
  'of frames, with arrays': { lists: 'array' },
  'of frames, with arrays, weights read inside': { lists: 'array', weights: 'read' },
  'of a While': { form: 'while' },
  'of a While, one counter': { form: 'while', plain: true },
  backwards: { backwards: true },
  'with a mask': { masked: true },
  'with a mask, in a While': { masked: true, form: 'while' },
  'with lengths of rows': { lengths: true, lists: 'array' },
  'that takes kernels apart': { slices: true },
  'that takes kernels apart, in a While': { slices: true, form: 'while' },
  'that keeps the last position': { keepsLast: true },
  'of one counter': { plain: true },
  'with a bias of Keras 3': { bias: 'AddV2', weights: 'read' },
  'without a bias': { bias: 'none' },
  'of relu': { activation: 'Relu' },
  'of softplus': { activation: 'Softplus' },
  'of a hard sigmoid': { gate: 'hard' },
  'of a hard sigmoid of Keras 3, in a While': { gate: 'hardOfKeras3', form: 'while' },
};

describe.each(BACKENDS)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(KINDS)('%s', (kind) => {
    it.each(Object.entries(CASES))('%s: one node, the values of stock', async (_, rest) => {
      const entry = kerasLoop({ kind, K, units: UNITS, stored: 'uint8', ...rest });
      await withoutLeaks(async () => {
        const [stock, model] = await bothOf(entry);
        expect(loopsOf(model).map(({ where, reason, msdOp }) => [where, reason ?? msdOp])).toEqual([
          ['msd', 'MsdRecurrent'],
        ]);
        // tfjs's Select takes bools of a row for those of a column.
        const several = rest.lengths ? [] : [{ batch: 3, positions: 4 }];
        for (const sizes of [{}, ...several, { positions: 1 }])
          expectNear(await run(model, entry, sizes), await run(stock, entry, sizes));
        stock.dispose();
        model.dispose();
      });
    });
  });
});

describe('loops', () => {
  beforeAll(() => useBackend('wasm'));

  it.each(KINDS)('%s: saved, reloaded, accelerated and restored', async (kind) => {
    for (const form of ['frames', 'while'] as const) {
      const entry = kerasLoop({ kind, K, units: UNITS, form, stored: 'uint8' });
      const [stock, model] = await bothOf(entry);
      const [want, got] = [await run(stock, entry), await run(model, entry)];
      const saved = await savedGraph(model);
      for (const load of [loadGraphModel, tf.loadGraphModel]) {
        const again = await load(handlerOf(saved));
        expect(await run(again, entry)).toEqual(got);
        again.dispose();
      }
      const { restore } = await accelerate(stock, { restorable: true });
      expectNear(await run(stock, entry), got, 1e-5);
      await restore();
      expect(await run(stock, entry)).toEqual(want);
      stock.dispose();
      model.dispose();
    }
  });
});

describe('loops of other forms', () => {
  beforeAll(() => useBackend('wasm'));

  it.each([undefined, 'float16', 'uint16'] as const)('of weights in a manifest of %s', async (stored) => {
    for (const kind of KINDS) {
      const entry = kerasLoop({ kind, K, units: UNITS, ...(stored && { stored }) });
      const [stock, model] = await bothOf(entry);
      expect(loopsOf(model).map(({ where }) => where)).toEqual(['msd']);
      for (const sizes of [{}, { batch: 2, positions: 32 }])
        expectNear(await run(model, entry, sizes), await run(stock, entry, sizes), stored ? NEAR : 0.03);
    }
  });

  // tfjs disposes of lengths that are handed to a While.
  it.each([{ lists: 'array' }, { form: 'while' }] as const)(
    'of rows with lengths, %o: each as it is alone',
    async (rest) => {
      const entry = kerasLoop({ kind: 'lstm', K, units: UNITS, lengths: true, ...rest });
      const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
      const x = tensor(3, [3, 4, K]);
      const lengths = [4, 2, 0];
      const [, , h] = (await model.executeAsync({ x, lengths: tf.tensor1d(lengths, 'int32') }, [
        ...entry.outputs!,
      ])) as tf.Tensor[];
      for (const [b, length] of lengths.entries()) {
        const alone = (await model.executeAsync(
          { x: tf.slice(x, [b, 0, 0], [1, 4, K]), lengths: tf.tensor1d([length], 'int32') },
          'h',
        )) as tf.Tensor;
        expect(Array.from(tf.slice(h!, [b, 0], [1, UNITS]).dataSync())).toEqual(Array.from(alone.dataSync()));
        if (length === 0) expect(alone.dataSync().every((value) => value === 0)).toBe(true);
      }
    },
  );

  it.each(['lstm', 'gru', 'gruBefore'] as const)('%s, whose kernels are read and taken apart inside', async (kind) => {
    // tfjs itself runs nothing in a frame that reads constants alone.
    const graph = { kind, K, units: UNITS, slices: true, stored: 'uint8' } as const;
    const [read, passed] = [kerasLoop({ ...graph, weights: 'read' }), kerasLoop(graph)];
    const [model, other] = [read, passed].map((entry) => loadGraphModel(handlerOf(artifactsOf(entry))));
    expect(await run(await model!, read)).toEqual(await run(await other!, passed));
    const taken = reportOf(await model!)!.nodes.filter(({ weights }) => weights);
    expect(taken.map(({ msdOp }) => msdOp)).toEqual(taken.map(() => 'MsdRecurrent'));
    expect(taken.length).toBe({ lstm: 8, gru: 2, gruBefore: 3 }[kind]);
  });

  it.each(['frames', 'while'] as const)('one behind the other and beside each other, of %s', async (form) => {
    const first = kerasLoop({ kind: 'lstm', K, units: UNITS, form, at: 'one/' });
    const back = kerasLoop({ kind: 'gru', K, units: UNITS, form, at: 'two/', backwards: true });
    const second = kerasLoop({ kind: 'simple', K: UNITS, units: UNITS, form, at: 'three/', input: 'one/sequence' });
    const seen = new Set<string>();
    const once = <E extends { readonly name: string }>(all: readonly E[]) =>
      all.filter(({ name }) => !seen.has(name) && seen.add(name));
    const all = [first, back, second];
    const entry: GraphEntry = {
      nodes: once(all.flatMap(({ nodes }) => nodes)),
      // `units` and its like are those of each.
      weights: once(all.flatMap(({ weights }) => weights)),
      functions: all.flatMap(({ functions = [] }) => functions),
      outputs: all.flatMap(({ outputs }) => outputs!),
    };
    const artifacts = artifactsOf(entry);
    const [stock, model] = [await tf.loadGraphModel(handlerOf(artifacts)), await loadGraphModel(handlerOf(artifacts))];
    expect(loopsOf(model).map(({ where }) => where)).toEqual(['msd', 'msd', 'msd']);
    expectNear(await run(model, entry), await run(stock, entry), 0.03);
  });

  it('run by execute as well, with counters as outputs', async () => {
    for (const form of ['frames', 'while'] as const) {
      const entry = kerasLoop({ kind: 'gru', K, units: UNITS, form });
      const [stock, model] = await bothOf({ ...entry, outputs: ['h', 'time'] });
      const x = tensor(3, [2, 6, K]);
      const [h, time] = model.execute({ x }, ['h', 'time']) as tf.Tensor[];
      const [wantH, wantTime] = (await stock.executeAsync({ x }, ['h', 'time'])) as tf.Tensor[];
      expect([time!.dtype, time!.shape, time!.dataSync()[0]]).toEqual(['int32', [], 6]);
      expect(wantTime!.dataSync()[0]).toBe(6);
      expect(relativeL2(h!.dataSync() as Float32Array, wantH!.dataSync() as Float32Array)).toBeLessThan(0.03);
    }
  });

  it('of no position: the first states, and no rows', async () => {
    const entry = kerasLoop({ kind: 'lstm', K, units: UNITS });
    const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
    const [sequence, h] = model.execute({ x: tf.zeros([2, 0, K]) }, ['sequence', 'h']) as tf.Tensor[];
    expect([sequence!.shape, h!.shape]).toEqual([
      [2, 0, UNITS],
      [2, UNITS],
    ]);
  });

  it.each(KINDS)('%s: have gradients, and give the same in operations of tfjs', async (kind) => {
    const entry = kerasLoop({ kind, K, units: UNITS, masked: true });
    const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
    const x = tensor(3, [2, 5, K]);
    const mask = tf.greater(tensor(9, [2, 5]), -0.3);
    const want = model.execute({ x, mask } as never, [...entry.outputs!]) as tf.Tensor[];
    // While gradients are recorded no kernel runs.
    const spelt: tf.Tensor[] = [];
    const slope = tf.grad((at: tf.Tensor) => {
      const made = model.execute({ x: at, mask } as never, [...entry.outputs!]) as tf.Tensor[];
      spelt.push(...made.map((one) => tf.keep(tf.clone(one))));
      return tf.sum(made[0]!);
    })(x);
    for (const [i, own] of spelt.entries())
      expect(relativeL2(own.dataSync() as Float32Array, want[i]!.dataSync() as Float32Array)).toBeLessThan(1e-5);
    const shifted = (by: number) =>
      tf.sum(model.execute({ x: tf.add(x, tf.mul(by, tensor(7, x.shape))), mask } as never, 'sequence') as tf.Tensor);
    const along = tf.sum(tf.mul(slope, tensor(7, x.shape))).dataSync()[0]!;
    const measured = tf.div(tf.sub(shifted(0.01), shifted(-0.01)), 0.02).dataSync()[0]!;
    expect(Math.abs(along - measured)).toBeLessThan(0.02 * Math.abs(measured) + 0.05);
  });
});

type Entry = { name: string; op: string; input?: string[]; attr?: Record<string, unknown> };

describe('loops that stay', () => {
  beforeAll(() => useBackend('wasm'));
  const edited = (edit: (nodes: Entry[]) => void, rest: Partial<KerasLoop> = {}) => {
    const entry = kerasLoop({ kind: 'lstm', K, units: UNITS, stored: 'uint8', ...rest });
    const nodes = structuredClone(entry.nodes) as Entry[];
    edit(nodes);
    return { ...entry, nodes };
  };
  const change = (nodes: Entry[], name: string, to: Partial<Entry>) =>
    Object.assign(nodes.find((node) => node.name === name)!, to);

  it.each([
    ['another operation', (nodes: Entry[]) => change(nodes, 'while/body/_1/g', { op: 'Sin' }), 'Sin in the loop'],
    [
      'positions in another order',
      (nodes: Entry[]) =>
        change(nodes, 'while/body/_1/read', { input: ['while/switch/inputs:1', 'number1', 'element_of_x'] }),
      'positions of a list in another order',
    ],
    [
      'a step of two',
      (nodes: Entry[]) => change(nodes, 'while/body/_1/time/next', { input: ['while/switch/time:1', 'units'] }),
      'a constant of int32',
    ],
    [
      'another condition',
      (nodes: Entry[]) => change(nodes, 'while/cond/_0/Less', { op: 'LessEqual' }),
      'LessEqual as the condition of the loop',
    ],
    [
      'a list that somebody else reads',
      (nodes: Entry[]) => nodes.push({ name: 'length', op: 'TensorListLength', input: ['while/exit/list'], attr: {} }),
      'a list that TensorListLength reads',
    ],
    [
      'a product of the state with itself',
      (nodes: Entry[]) => change(nodes, 'while/body/_1/mul', { op: 'MatMul' }),
      'while/body/_1/mul: no constant operand',
    ],
  ])('%s', async (_, edit, reason) => {
    const model = await loadGraphModel(handlerOf(artifactsOf(edited(edit))));
    expect(loopsOf(model).map((node) => [node.where, node.reason])).toEqual([['tfjs', reason]]);
    // Its products are integers all the same.
    expect(reportOf(model)!.nodes.filter(({ weights, msdOp }) => weights && msdOp === 'MsdMatMul').length).toBe(2);
  });

  it('as products of packed weights, with the values of stock', async () => {
    const entry = edited((nodes) => change(nodes, 'while/body/_1/g', { op: 'Sin' }));
    const [stock, model] = await bothOf(entry);
    expectNear(await run(model, entry), await run(stock, entry));
  });

  it('whose recurrent weights are few, or have no number', async () => {
    const entry = kerasLoop({ kind: 'simple', K: 300, units: 8 });
    const model = await loadGraphModel(handlerOf(artifactsOf(entry)));
    expect(loopsOf(model).map(({ reason }) => reason)).toEqual(['its recurrent weights stay floats']);
  });

  it('whose kernel stays floats are taken: it is multiplied before the loop', async () => {
    const entry = kerasLoop({ kind: 'simple', K: 5, units: 90, stored: 'uint8' });
    const [stock, model] = await bothOf(entry);
    expect(loopsOf(model).map(({ where }) => where)).toEqual(['msd']);
    const x = tensor(3, [2, 4, 5]);
    const [got, want] = [model.execute({ x }, 'h') as tf.Tensor, (await stock.executeAsync({ x }, 'h')) as tf.Tensor];
    expect(relativeL2(got.dataSync() as Float32Array, want.dataSync() as Float32Array)).toBeLessThan(NEAR);
  });
});

describe('files with loops of MSD', () => {
  beforeAll(() => useBackend('cpu'));

  it('that say nothing of their steps, or nonsense, are refused when they run', async () => {
    const entry = kerasLoop({ kind: 'gru', K, units: UNITS });
    const saved = await savedGraph(await loadGraphModel(handlerOf(artifactsOf(entry))));
    type Node = { op: string; attr: Record<string, { s?: string }> };
    const program = JSON.parse(
      atob(
        (saved.modelTopology as unknown as { node: Node[] }).node.find(({ op }) => op === 'MsdRecurrent')!.attr.program!
          .s!,
      ),
    );
    const broken: unknown[] = [
      null,
      {},
      { ...program, places: [] },
      { ...program, limits: [99] },
      { ...program, steps: [{ kind: 'product', from: 0, matrix: 7, to: 1 }] },
      { ...program, steps: [{ kind: 'rows', width: 1e9, op: { nodes: [], outputs: [] }, from: [], to: [[0, 0]] }] },
      { ...program, outputs: [{ kind: 'state', place: -1 }] },
      { ...program, places: program.places.map((place: object) => ({ ...place, width: 0 })) },
    ];
    for (const other of broken) {
      const topology = structuredClone(saved.modelTopology) as unknown as { node: Node[] };
      topology.node.find(({ op }) => op === 'MsdRecurrent')!.attr.program = { s: btoa(JSON.stringify(other)) };
      const model = await loadGraphModel(handlerOf({ ...saved, modelTopology: topology as never }));
      expect(() => model.execute({ x: tf.zeros([1, 3, K]) }, 'h')).toThrow(
        /MsdRecurrent while\/loop_cond: program, expected the steps of a loop over places that it has/,
      );
    }
    const topology = structuredClone(saved.modelTopology) as unknown as { node: Node[] };
    const wider = program.places.map((place: { kind: string; width: number }) =>
      place.kind === 'local' ? { ...place, width: place.width + 4 } : place,
    );
    const attr = topology.node.find(({ op }) => op === 'MsdRecurrent')!.attr;
    attr.program = { s: btoa(JSON.stringify({ ...program, places: wider })) };
    const model = await loadGraphModel(handlerOf({ ...saved, modelTopology: topology as never }));
    expect(() => model.execute({ x: tf.zeros([1, 3, K]) }, 'h')).toThrow(
      `MsdRecurrent while/loop_cond: spec0, expected a matrix [${UNITS},${3 * UNITS + 4}], got `,
    );
  });

  it('whose programs are damaged anywhere give typed errors, or run', async () => {
    const entry = kerasLoop({ kind: 'gru', K, units: UNITS, masked: true });
    const saved = await savedGraph(await loadGraphModel(handlerOf(artifactsOf(entry))));
    type Node = { op: string; attr: Record<string, { s?: string }> };
    const nodes = (saved.modelTopology as unknown as { node: Node[] }).node;
    const text = atob(nodes.find(({ op }) => op === 'MsdRecurrent')!.attr.program!.s!);
    const next = random(5);
    const feeds = { x: tf.zeros([1, 3, K]), mask: tf.ones([1, 3], 'bool') };
    for (let i = 0; i < 150; i++) {
      // A number becomes another one: places, offsets, widths, arguments.
      const numbers = [...text.matchAll(/-?\d+(\.\d+)?/g)];
      const { 0: old, index } = numbers[Math.floor(next() * numbers.length)]!;
      const other = ['-1', '0', '1', '2', '7', '36', '38', '74', '1e9', 'null', '0.5'][Math.floor(next() * 11)]!;
      const program = `${text.slice(0, index)}${other}${text.slice(index + old.length)}`;
      const topology = structuredClone(saved.modelTopology) as unknown as { node: Node[] };
      topology.node.find(({ op }) => op === 'MsdRecurrent')!.attr.program = { s: btoa(program) };
      const model = await loadGraphModel(handlerOf({ ...saved, modelTopology: topology as never }));
      let error: unknown;
      try {
        tf.dispose(model.execute(feeds as never, [...entry.outputs!]));
      } catch (thrown) {
        error = thrown;
      }
      if (error)
        expect((error as Error).message, program).toMatch(
          /MsdRecurrent|elementwise|tensor|shape|broadcast|slice index/i,
        );
      model.dispose();
    }
  });

  it('are told how long sequences have to be', async () => {
    const entry = kerasLoop({ kind: 'gru', K, units: UNITS });
    const nodes = entry.nodes.map((node) =>
      node.name.startsWith('while/enter/') && node.input![0] === 'strided_slice' ? { ...node, input: ['units'] } : node,
    );
    const model = await loadGraphModel(handlerOf(artifactsOf({ ...entry, nodes })));
    expect(() => model.execute({ x: tf.zeros([1, 3, K]) }, 'h')).toThrow(
      `MsdRecurrent while/loop_cond: sequence, expected [at least ${UNITS},1,${3 * UNITS}], got [3,1,${3 * UNITS}]`,
    );
  });
});

describe('loops that arrive', () => {
  beforeAll(() => useBackend('wasm'));

  it.each([{}, { slices: true }, { form: 'while' }] as const)(
    'piece by piece, %o, as those that come at once',
    async (rest) => {
      const entry = kerasLoop({ kind: 'lstm', K, units: 400, ...rest });
      const artifacts = artifactsOf(entry);
      const { weightData, ...others } = artifacts;
      const bytes = new Uint8Array(weightData as ArrayBuffer);
      const streamed = {
        load: async () => ({
          ...others,
          getWeightStream: () =>
            new ReadableStream({
              start(controller) {
                for (let at = 0; at < bytes.length; at += 100_000)
                  controller.enqueue(bytes.slice(at, at + 100_000).buffer);
                controller.close();
              },
            }),
        }),
      };
      const [model, whole] = [await loadGraphModel(streamed as never), await loadGraphModel(handlerOf(artifacts))];
      expect({ ...reportOf(model), peakBytes: undefined }).toEqual({ ...reportOf(whole), peakBytes: undefined });
      expect(await run(model, entry)).toEqual(await run(whole, entry));
    },
  );
});
