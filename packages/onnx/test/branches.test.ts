/** If with products in its branches: one graph for every way through them. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { SessionReport } from '../src/report.ts';
import { type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { CLOSE, relativeMost } from './close.ts';
import { compare } from './compared.ts';
import { MERGED, mergedModel } from './merged.ts';
import { gaussian, makeMatrix, namedOp as op, random } from './models.ts';
import { externalTensor } from './odd.ts';
import { floats, ort, session, tensor } from './ort.ts';

const K = 64;
const a = makeMatrix({ name: 'a', N: K, K });
const b = makeMatrix({ name: 'b', N: K, K, seed: 2, bits: 8, zeroPoints: true });

const out = (...names: string[]): GraphSpec['outputs'] => names.map((name) => ({ name, dtype: 'float32' as const }));
const body = (nodes: readonly NodeSpec[], outputs: string[], initializers: readonly TensorSpec[] = []): GraphSpec => ({
  nodes,
  initializers,
  inputs: [],
  outputs: out(...outputs),
});
const choose = (condition: string, outputs: string | readonly string[], yes: GraphSpec, no: GraphSpec): NodeSpec =>
  op('If', [condition], outputs, { then_branch: { graph: yes }, else_branch: { graph: no } });
const x = { name: 'x', dtype: 'float32' as const, dims: ['rows', K] };
const flag = { name: 'flag', dtype: 'bool' as const, dims: [] as number[] };
const scalar = (name: string, value: bigint): TensorSpec => ({
  name,
  dtype: 'int64',
  dims: [],
  data: BigInt64Array.of(value),
});
const model = (nodes: readonly NodeSpec[], outputs: string[], more: Partial<GraphSpec> = {}): Uint8Array => {
  const initializers = [...a.initializers, ...b.initializers, ...(more.initializers ?? [])];
  return writeModel({ graph: { nodes, inputs: [x, flag], outputs: out(...outputs), ...more, initializers } });
};

const bools = (value: boolean, dims: readonly number[] = []): ort.Tensor =>
  new ort.Tensor('bool', Uint8Array.of(+value), dims);
const rowsOf = (rows: number, seed = 5): ort.Tensor => tensor(gaussian(random(seed), rows * K), [rows, K]);

const both = (rows = 3): Record<string, ort.Tensor>[] => [
  { x: rowsOf(rows), flag: bools(true) },
  { x: rowsOf(1, 6), flag: bools(false) },
];
const products = ({ nodes }: SessionReport) => nodes.filter(({ opType }) => opType === 'MatMulNBits');

describe('branches with products', () => {
  it('are planned like graphs, and share what they multiply with', async () => {
    const yes = body([op('Relu', ['x'], 'h'), a.node('h', 'r')], ['r']);
    const no = body([a.node('x', 'h'), b.node('h', 'r')], ['r']);
    const report = await compare(model([choose('flag', 'y', yes, no)], ['y']), both());
    expect(report.foreignRunsPerCall).toBe(0);
    expect(report.branches?.map(({ taken }) => taken)).toEqual([
      ['the If of y/then_branch'],
      ['the If of y/else_branch'],
    ]);
    expect(products(report).map(({ where, inside }) => [where, inside])).toEqual([
      ['msd', 'the If of y/then_branch'],
      ['msd', 'the If of y/else_branch'],
      ['msd', 'the If of y/else_branch'],
    ]);
    const alone = await compare(model([a.node('x', 'h'), b.node('h', 'y')], ['y']), [
      { x: rowsOf(2), flag: bools(true) },
    ]);
    expect(report.weights).toEqual(alone.weights);
  });

  it('a branch without any runs beside one that has some', async () => {
    const yes = body([op('Selu', ['x'], 'r')], ['r']);
    const no = body([a.node('x', 'h'), op('Selu', ['h'], 'r')], ['r']);
    const report = await compare(model([choose('flag', 'y', yes, no)], ['y']), both());
    expect(report.branches?.map(({ foreignRunsPerCall }) => foreignRunsPerCall)).toEqual([1, 1]);
    expect(products(report).map(({ where }) => where)).toEqual(['msd']);
  });

  it('an If without any is a node like others', async () => {
    const yes = body([op('Relu', ['p'], 'r')], ['r']);
    const no = body([op('Neg', ['p'], 'h'), op('Add', ['h', 'x'], 'r')], ['r']);
    const report = await compare(
      model([a.node('x', 'p'), choose('flag', 'c', yes, no), b.node('c', 'y')], ['y']),
      both(),
    );
    expect(report.whole).toBeUndefined();
    expect(report.foreignRunsPerCall).toBe(1);
    expect(report.nodes.find(({ opType }) => opType === 'Neg')).toMatchObject({
      where: 'ort',
      inside: 'the If of c/else_branch',
      reason: "Neg: inside If 'the If of c', which ONNX Runtime runs as a whole".slice(5),
    });
  });

  it('an If whose attention hands out its scores has room for them', async () => {
    const attention = (scores: string): NodeSpec =>
      op('Attention', ['p', 'p', 'p'], ['r', '', '', scores], { q_num_heads: { int: 2 }, kv_num_heads: { int: 2 } });
    const yes = body([attention('s')], ['r', 's']);
    const no = body([attention('h'), op('Neg', ['h'], 's')], ['r', 's']);
    const nodes = [a.node('x', 'p'), choose('flag', ['y', 'scores'], yes, no)];
    const inputs = [{ ...x, dims: ['batch', 'rows', K] }, flag];
    const graph = { nodes, initializers: a.initializers, inputs, outputs: out('y', 'scores') };
    const feeds = [true, false].map((value) => ({
      x: tensor(gaussian(random(5), 6 * K), [2, 3, K]),
      flag: bools(value),
    }));
    const report = await compare(writeModel({ opsets: { '': 24, 'com.microsoft': 1 }, graph }), feeds);
    expect(report.nodes.map(({ opType, where }) => [opType, where])).toEqual([
      ['MatMulNBits', 'msd'],
      ['If', 'ort'],
      ['Attention', 'ort'],
      ['Attention', 'ort'],
      ['Neg', 'ort'],
    ]);
  });

  it('keep their names apart, also where a constant of one is a result of the other', async () => {
    const bias = (value: number): TensorSpec => ({
      name: 'bias',
      dtype: 'float32',
      dims: [K],
      data: new Float32Array(K).fill(value),
    });
    const yes = body([a.node('x', 'h'), op('Add', ['h', 'bias'], 'r')], ['r'], [bias(1)]);
    const no = body([b.node('x', 'bias'), op('Relu', ['bias'], 'h'), op('Add', ['h', 'bias'], 'r')], ['r']);
    const other = body([op('Mul', ['y', 'bias'], 'h'), a.node('h', 'r')], ['r'], [bias(-2)]);
    const same = body([b.node('y', 'r')], ['r']);
    const nodes = [choose('flag', 'y', yes, no), choose('flag', 'z', other, same)];
    const report = await compare(model(nodes, ['y', 'z']), both());
    expect(report.foreignRunsPerCall).toBe(0);
    expect(report.branches).toHaveLength(2);
  });

  it('take values from outside, and hand on what they got or hold', async () => {
    const held: NodeSpec = {
      ...op('Constant', [], 'held'),
      attributes: { value: { tensor: { name: '', dtype: 'float32', dims: [2], data: Float32Array.of(1, 2) } } },
    };
    const yes = body([a.node('p', 'r'), op('Identity', ['x'], 'q'), held], ['r', 'q', 'held']);
    const no = body([b.node('p', 'r'), op('Identity', ['p'], 'q'), op('Identity', ['r'], 's')], ['r', 'q', 's']);
    const nodes = [op('Sigmoid', ['x'], 'p'), choose('flag', ['y', 'q', 'z'], yes, no), op('Add', ['q', 'y'], 'w')];
    const report = await compare(model(nodes, ['y', 'q', 'z', 'w']), both());
    expect(report.foreignRunsPerCall).toBe(0);
  });

  it('lie in branches', async () => {
    const inner = choose('other', 'r', body([a.node('h', 's')], ['s']), body([b.node('h', 's')], ['s']));
    const yes = body([op('Relu', ['x'], 'h'), inner], ['r']);
    const no = body([a.node('x', 'r')], ['r']);
    const nodes = [op('Not', ['flag'], 'unset'), op('And', ['flag', 'more'], 'other'), choose('flag', 'y', yes, no)];
    const more = { inputs: [x, flag, { ...flag, name: 'more' }] };
    const feeds = [
      [true, true],
      [true, false],
      [false, true],
    ].map(([one, two]) => ({ x: rowsOf(2), flag: bools(one!), more: bools(two!) }));
    const report = await compare(model(nodes, ['y'], more), feeds);
    expect(report.foreignRunsPerCall).toBe(0);
    expect(report.branches).toHaveLength(3);
    expect(products(report).map(({ inside }) => inside)).toEqual([
      'the If of y/then_branch/the If of r/then_branch',
      'the If of y/then_branch/the If of r/else_branch',
      'the If of y/else_branch',
    ]);
  });

  it('are chosen by shape arithmetic; the same one decides once', async () => {
    const decide = (to: string): NodeSpec[] => [
      op('Shape', ['x'], `${to}_shape`),
      op('Gather', [`${to}_shape`, 'first'], `${to}_rows`),
      op('Greater', [`${to}_rows`, 'limit'], to),
    ];
    const nodes = [
      ...decide('one'),
      ...decide('two'),
      choose('one', 'h', body([a.node('x', 'r')], ['r']), body([b.node('x', 'r')], ['r'])),
      choose('two', 'y', body([b.node('h', 'r')], ['r']), body([op('Relu', ['h'], 'r')], ['r'])),
    ];
    const report = await compare(
      model(nodes, ['y'], { inputs: [x], initializers: [scalar('first', 0n), scalar('limit', 2n)] }),
      [{ x: rowsOf(2) }, { x: rowsOf(3) }],
    );
    expect(report.branches).toHaveLength(2);
    expect(report.foreignRunsPerCall).toBe(0);
  });

  it('a condition that is the same in every run leaves one way', async () => {
    const always: TensorSpec = { name: 'always', dtype: 'bool', dims: [1], data: Uint8Array.of(1) };
    const node = choose('always', 'y', body([a.node('x', 'r')], ['r']), body([b.node('x', 'r')], ['r']));
    const report = await compare(model([node], ['y'], { inputs: [x], initializers: [always] }), [{ x: rowsOf(2) }]);
    expect(report.branches).toBeUndefined();
    expect(products(report).map(({ name }) => name)).toEqual(['a/MatMul_Q4']);
  });

  it('are chosen late where floats decide', async () => {
    const nodes = [
      a.node('x', 'p'),
      op('ReduceMax', ['p'], 'most', { keepdims: { int: 0 } }),
      op('Greater', ['most', 'limit'], 'large'),
      choose('large', 'y', body([b.node('p', 'r')], ['r']), body([op('Relu', ['p'], 'r')], ['r'])),
    ];
    const limit: TensorSpec = { name: 'limit', dtype: 'float32', dims: [], data: Float32Array.of(2) };
    const small = tensor(new Float32Array(K), [1, K]);
    const bytes = model(nodes, ['y'], { inputs: [x], initializers: [limit] });
    const report = await compare(bytes, [{ x: rowsOf(3) }, { x: small }]);
    expect(report.whole).toBeUndefined();
    expect(report.branches).toBeUndefined();
    expect(products(report).map(({ where, inside }) => [where, inside])).toEqual([
      ['msd', undefined],
      ['msd', 'the If of y/then_branch'],
    ]);
  });

  it('more conditions than graphs are made for leave the rest of them nodes', async () => {
    const names = ['f0', 'f1', 'f2', 'f3'];
    const nodes = names.map((name, i) =>
      choose(name, `v${i + 1}`, body([a.node(`v${i}`, 'r')], ['r']), body([op('Relu', [`v${i}`], 'r')], ['r'])),
    );
    const inputs = [{ ...x, name: 'v0' }, ...names.map((name) => ({ ...flag, name }))];
    const feeds = [0, 5, 10, 15].map((bits) => ({
      v0: rowsOf(2),
      ...Object.fromEntries(names.map((name, i) => [name, bools(((bits >> i) & 1) === 1)])),
    }));
    const report = await compare(model(nodes, ['v4'], { inputs }), feeds);
    expect(report.whole).toBe(undefined);
    expect(report.branches).toHaveLength(8);
    expect(report.foreignRunsPerCall).toBe(1);
  });

  it('a condition of several elements is refused', async () => {
    const node = choose('flag', 'y', body([a.node('x', 'r')], ['r']), body([b.node('x', 'r')], ['r']));
    const msd = await session(model([node], ['y'], { inputs: [x, { ...flag, dims: ['n'] }] }));
    const run = msd.run({ x: rowsOf(1), flag: new ort.Tensor('bool', Uint8Array.of(1, 0), [2]) });
    await expect(run).rejects.toThrow("run: condition 'flag', expected one element, got 2.");
    await msd.release();
  });

  it('weights of a branch may lie in a file of their own', async () => {
    const inner = makeMatrix({ name: 'c', N: K, K, seed: 9 });
    const codes = { float32: 1, uint8: 2 } as Readonly<Record<string, number>>;
    const parts: Uint8Array[] = [];
    let offset = 0;
    const outside = inner.initializers.map(({ name, dtype, dims, data }) => {
      const { buffer, byteOffset, byteLength } = data as Uint8Array;
      parts.push(new Uint8Array(buffer, byteOffset, byteLength));
      const place = { location: 'weights.bin', offset, length: byteLength };
      offset += byteLength;
      return { encoded: externalTensor(name, dims, place, codes[dtype]) };
    });
    const yes = { ...body([inner.node('x', 'r')], ['r']), initializers: outside };
    const no = { ...body([inner.node('x', 'h'), a.node('h', 'r')], ['r']), initializers: outside };
    const externalData = [{ path: 'weights.bin', data: new Uint8Array(Buffer.concat(parts)) }];
    // ONNX Runtime itself does not find what a branch has outside.
    const inside = [yes, no].map((branch) => ({ ...branch, initializers: inner.initializers })) as [
      GraphSpec,
      GraphSpec,
    ];
    const reference = model([choose('flag', 'y', ...inside)], ['y']);
    const report = await compare(model([choose('flag', 'y', yes, no)], ['y']), both(), { externalData }, reference);
    expect(report.foreignRunsPerCall).toBe(0);
    // Both branches hold the tensor: it is one place in the file.
    const bytes = (matrix: typeof a): number =>
      matrix.initializers.reduce((sum, { data }) => sum + (data as Uint8Array).byteLength, 0);
    expect(report.weights.fileBytes).toBe(bytes(inner) + bytes(a));
  });
});

describe('merged decoders', () => {
  const { heads, size, width } = MERGED;
  const frames = 7;
  const hidden = (rows: number, seed: number): ort.Tensor =>
    tensor(gaussian(random(seed), rows * width), [1, rows, width]);
  const names = ['decoder.key', 'decoder.value', 'encoder.key', 'encoder.value'];
  const none = (): ort.Tensor => tensor(new Float32Array(0), [1, heads, 0, size]);

  it.each([
    ['same', 'flag', false],
    ['empty', 'flag', false],
    ['same', 'past', false],
    ['empty', 'flag', true],
  ] as const)(
    'encoder %s, decided by %s, flat %s: what a run leaves costs the next nothing',
    async (encoder, decidedBy, isFlat) => {
      const bytes = mergedModel({ encoder, decidedBy, isFlat });
      const [msd, plain] = [await session(bytes), await session(bytes, 'wasm')];
      const pasts = [msd, plain].map(() => new Map(names.map((name) => [name, none()])));
      const states = hidden(frames, 11);
      for (let step = 0; step < 5; step++) {
        const input = hidden(step === 0 ? 4 : 1, 20 + step);
        const results = [];
        for (const [i, engine] of [msd, plain].entries()) {
          const fed = Object.fromEntries([...pasts[i]!].map(([name, each]) => [`past.${name}`, each]));
          const chosen: Record<string, ort.Tensor> = decidedBy === 'flag' ? { flag: bools(step > 0, [1]) } : {};
          results.push(await engine.run({ x: input, states, ...fed, ...chosen }));
          for (const name of names)
            if (step === 0 || name.startsWith('decoder') || encoder === 'same')
              pasts[i]!.set(name, results[i]![`present.${name}`]!);
        }
        const [got, expected] = results as [ort.InferenceSession.ReturnType, ort.InferenceSession.ReturnType];
        for (const name of plain.outputNames) expect(got[name]!.dims, name).toEqual(expected[name]!.dims);
        expect(relativeMost(floats(got.logits as ort.Tensor), floats(expected.logits as ort.Tensor))).toBeLessThan(
          CLOSE,
        );
        const { bytesCopiedPerCall, kvCache } = reportOf(msd)!;
        // x, and in the first run what the encoder gives. Masks are less than a row.
        const rows = step === 0 ? 4 + frames : 1;
        expect(bytesCopiedPerCall.intoMsd).toBeGreaterThanOrEqual(4 * width * rows);
        expect(bytesCopiedPerCall.intoMsd).toBeLessThan(4 * width * (rows + 1));
        expect(kvCache!.byteLength).toBeGreaterThan(0);
      }
      const present = (pasts[0]!.get('encoder.key') as ort.Tensor).data as Float32Array;
      const wanted = (pasts[1]!.get('encoder.key') as ort.Tensor).data as Float32Array;
      expect(relativeMost(present, wanted)).toBeLessThan(CLOSE);
      expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
      await msd.release();
      await plain.release();
    },
  );

  it('weights of cross-attention, as they are asked for the times of words', async () => {
    const bytes = mergedModel({ encoder: 'same', showsWeights: true });
    const [msd, plain] = [await session(bytes), await session(bytes, 'wasm')];
    const states = hidden(frames, 11);
    const pasts = [msd, plain].map(() => new Map(names.map((name) => [name, none()])));
    for (let step = 0; step < 4; step++) {
      const x = hidden(step === 0 ? 4 : 1, 20 + step);
      const results: ort.InferenceSession.ReturnType[] = [];
      for (const [i, engine] of [msd, plain].entries()) {
        const past = Object.fromEntries([...pasts[i]!].map(([name, each]) => [`past.${name}`, each]));
        results.push(await engine.run({ x, states, ...past, flag: bools(step > 0, [1]) }));
        for (const name of names) pasts[i]!.set(name, results[i]![`present.${name}`] as ort.Tensor);
      }
      for (const name of ['logits', 'cross_weights']) {
        const [got, want] = results.map((each) => each[name] as ort.Tensor);
        expect(got!.dims, name).toEqual(want!.dims);
        expect(relativeMost(floats(got), floats(want)), name).toBeLessThan(CLOSE);
      }
      expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
    }
    await msd.release();
    await plain.release();
  });

  it('a past that somebody wrote to is read anew', async () => {
    const bytes = mergedModel({ encoder: 'same' });
    const [msd, plain] = [await session(bytes), await session(bytes, 'wasm')];
    const states = hidden(frames, 3);
    const step = async (engine: ort.InferenceSession, past: Record<string, ort.Tensor>, isFirst: boolean) =>
      (await engine.run({ x: hidden(1, 4), states, flag: bools(!isFirst, [1]), ...past })) as Record<
        string,
        ort.Tensor
      >;
    const results = [];
    for (const engine of [msd, plain]) {
      const first = await step(engine, Object.fromEntries(names.map((name) => [`past.${name}`, none()])), true);
      const past = Object.fromEntries(names.map((name) => [`past.${name}`, first[`present.${name}`]!]));
      (past['past.encoder.value']!.data as Float32Array).fill(0.25);
      results.push(await step(engine, past, false));
    }
    expect(relativeMost(floats(results[0]!.logits), floats(results[1]!.logits))).toBeLessThan(CLOSE);
    await msd.release();
    await plain.release();
  });

  it('one output of several, and a released session', async () => {
    const msd = await session(mergedModel({ encoder: 'same' }));
    const past = Object.fromEntries(names.map((name) => [`past.${name}`, none()]));
    const feeds = { x: hidden(2, 1), states: hidden(frames, 2), flag: bools(false, [1]), ...past };
    expect(Object.keys(await msd.run(feeds, ['logits']))).toEqual(['logits']);
    const { 'present.encoder.key': key } = await msd.run(feeds, ['present.encoder.key']);
    expect(key!.dims).toEqual([1, heads, frames, size]);
    expect((await key!.getData()).length).toBe(heads * frames * size);
    await msd.release();
    expect(reportOf(msd)!.memory.wasmBytes).toBe(0);
  });
});
