/** Loop, Scan and If whose bodies are planned like graphs: what plain onnxruntime-web makes of the same file. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { SessionReport } from '../src/report.ts';
import {
  type AttributeSpec,
  type GraphSpec,
  type NodeSpec,
  type TensorSpec,
  type ValueSpec,
  writeModel,
} from '../src/write/index.ts';
import { compare } from './compared.ts';
import { gaussian, makeMatrix, namedOp as op, random } from './models.ts';
import { externalTensor } from './odd.ts';
import { floats, ort, session, tensor } from './ort.ts';

const K = 160;
const a = makeMatrix({ name: 'a', N: K, K });
const b = makeMatrix({ name: 'b', N: K, K, seed: 2, bits: 8, zeroPoints: true });

const float = (name: string, dims?: ValueSpec['dims']): ValueSpec => ({
  name,
  dtype: 'float32',
  ...(dims && { dims }),
});
const int = (name: string, dims: ValueSpec['dims'] = []): ValueSpec => ({ name, dtype: 'int64', dims });
const bool = (name: string, dims: ValueSpec['dims'] = []): ValueSpec => ({ name, dtype: 'bool', dims });
const scalar = (name: string, value: number, dims: readonly number[] = []): TensorSpec => ({
  name,
  dtype: 'int64',
  dims,
  data: BigInt64Array.of(BigInt(value)),
});
const number = (name: string, value: number): TensorSpec => ({
  name,
  dtype: 'float32',
  dims: [],
  data: Float32Array.of(value),
});

/** A product that makes x no longer than it was: differences of two engines do not grow from pass to pass. */
const cell = (matrix: typeof a, x: string, y: string): NodeSpec[] => [
  matrix.node(x, `${y} sums`),
  op('Mul', [`${y} sums`, `damp ${matrix.name}`], `${y} small`),
  op('Tanh', [`${y} small`], y),
];

interface BodyOptions {
  readonly nodes: readonly NodeSpec[];
  readonly carried: readonly ValueSpec[];
  readonly left: readonly ValueSpec[];
  readonly condition?: string;
  readonly scalarDims?: readonly number[];
  readonly initializers?: readonly TensorSpec[];
  /** Of its own names: one of a loop in a loop has others. */
  readonly suffix?: string;
}

const loopBody = ({
  nodes,
  carried,
  left,
  condition,
  scalarDims = [],
  initializers = [],
  suffix = '',
}: BodyOptions): GraphSpec => ({
  nodes: condition === undefined ? [...nodes, op('Identity', [`going${suffix}`], `on${suffix}`)] : nodes,
  initializers,
  inputs: [int(`i${suffix}`, scalarDims), bool(`going${suffix}`, scalarDims), ...carried],
  outputs: [{ name: condition ?? `on${suffix}`, dtype: 'bool' }, ...left],
});

const model = (nodes: readonly NodeSpec[], outputs: readonly string[], more: Partial<GraphSpec> = {}): Uint8Array => {
  const damps = [number('damp a', 1 / 4), number('damp b', 1 / 64)];
  const initializers = [...a.initializers, ...b.initializers, ...damps, ...(more.initializers ?? [])];
  const inputs = [float('x', ['rows', K])];
  return writeModel({ graph: { nodes, inputs, outputs: outputs.map((name) => float(name)), ...more, initializers } });
};

const rowsOf = (rows: number, seed = 5): ort.Tensor => tensor(gaussian(random(seed), rows * K), [rows, K]);
const longs = (value: number, dims: readonly number[] = []): ort.Tensor =>
  new ort.Tensor('int64', BigInt64Array.of(BigInt(value)), dims);
const bools = (value: boolean, dims: readonly number[] = []): ort.Tensor =>
  new ort.Tensor('bool', Uint8Array.of(+value), dims);
const products = ({ nodes }: SessionReport) => nodes.filter(({ opType }) => opType === 'MatMulNBits');
const isInMsd = (report: SessionReport): void => {
  expect(report.whole).toBeUndefined();
  expect(products(report).every(({ where }) => where === 'msd')).toBe(true);
};

describe('Loop', () => {
  const step = loopBody({
    nodes: [...cell(a, 'h', 'next'), op('Mul', ['next', 'next'], 'square')],
    carried: [float('h', ['rows', K])],
    left: [float('next', ['rows', K]), float('square', ['rows', K])],
  });
  const inputs = [float('x', ['rows', K]), int('count'), bool('flag')];
  const looped = model([op('Loop', ['count', 'flag', 'x'], ['y', 'all'], { body: { graph: step } })], ['y', 'all'], {
    inputs,
  });

  it('passes as often as it is told, also not at all, and not if the condition is false at once', async () => {
    const feeds = [
      [3, true],
      [0, true],
      [1, true],
      [4, false],
      [-2, true],
    ].map(([count, flag]) => ({ x: rowsOf(2), count: longs(count as number), flag: bools(flag as boolean) }));
    const report = await compare(looped, feeds);
    isInMsd(report);
    expect(report.foreignRunsPerCall).toBe(0);
    expect(report.nodes.find(({ opType }) => opType === 'Loop')).toMatchObject({ where: 'msd' });
    expect(products(report)).toMatchObject([{ where: 'msd', inside: 'the Loop of y/body' }]);
    expect(products(report)[0]!.kernel).toMatch(/^gemm/);
  });

  it('ends when its condition says so, with a limit and without', async () => {
    const until = loopBody({
      nodes: [
        ...cell(a, 'h', 'next'),
        op('Add', ['i', 'one'], 'number'),
        op('Less', ['number', 'enough'], 'on'),
        op('Cast', ['number'], 'told', { to: { int: 1 } }),
      ],
      carried: [float('h', ['rows', K])],
      left: [float('next', ['rows', K]), float('told', [])],
      condition: 'on',
    });
    for (const [limit, flag] of [
      ['', ''],
      ['count', ''],
      ['', 'flag'],
      ['count', 'flag'],
    ] as const) {
      const bytes = model([op('Loop', [limit, flag, 'x'], ['y', 'all'], { body: { graph: until } })], ['y', 'all'], {
        inputs: [...inputs, int('enough')],
        initializers: [scalar('one', 1)],
      });
      const feeds = [1, 4, 9].map((enough) => ({
        x: rowsOf(1),
        count: longs(6),
        flag: bools(true),
        enough: longs(enough),
      }));
      isInMsd(await compare(bytes, feeds));
    }
  });

  it('a condition that floats decide is computed with them', async () => {
    const until = loopBody({
      nodes: [
        ...cell(a, 'h', 'next'),
        op('ReduceMax', ['next'], 'most', { keepdims: { int: 0 } }),
        op('Greater', ['most', 'least'], 'on'),
      ],
      carried: [float('h', ['rows', K])],
      left: [float('next', ['rows', K]), float('most', [])],
      condition: 'on',
    });
    const bytes = model([op('Loop', ['count', '', 'x'], ['y', 'all'], { body: { graph: until } })], ['y', 'all'], {
      inputs: [float('x', ['rows', K]), int('count')],
      initializers: [number('least', 0.1)],
    });
    isInMsd(
      await compare(
        bytes,
        [1, 2, 20].map((count) => ({ x: rowsOf(2), count: longs(count) })),
      ),
    );
  });

  it('carries values that grow, scalars, lists, numbers of passes and what it is given, and leaves what it makes', async () => {
    const grow = loopBody({
      nodes: [
        op('ReduceMean', ['h', 'front'], 'mean', { keepdims: { int: 1 } }),
        ...cell(b, 'mean', 'row'),
        op('Concat', ['h', 'row'], 'longer', { axis: { int: 0 } }),
        op('ReduceMax', ['row'], 'most', { keepdims: { int: 0 } }),
        op('Add', ['sum', 'most'], 'more'),
        op('Add', ['n', 'i'], 'added'),
        op('Cast', ['i'], 'number', { to: { int: 6 } }),
        op('Identity', ['kept'], 'same'),
      ],
      carried: [float('h', ['many', K]), float('sum', []), int('n'), float('kept')],
      left: [
        float('longer'),
        float('more'),
        int('added'),
        float('same'),
        float('row', [1, K]),
        { name: 'number', dtype: 'int32', dims: [] },
      ],
    });
    const bytes = model(
      [
        op('Loop', ['count', '', 'x', 'zero', 'none', 'x'], ['h_', 's_', 'n_', 'k_', 'rows_', 'i_'], {
          body: { graph: grow },
        }),
      ],
      [],
      {
        inputs: [float('x', ['rows', K]), int('count')],
        initializers: [number('zero', 0), scalar('none', 0), scalar('front', 0, [1])],
        outputs: [float('h_'), float('s_'), int('n_'), float('k_'), float('rows_'), { name: 'i_', dtype: 'int32' }],
      },
    );
    const report = await compare(
      bytes,
      [0, 1, 5].map((count) => ({ x: rowsOf(2), count: longs(count) })),
    );
    isInMsd(report);
  });

  it('the number of the pass and the condition may be lists of one', async () => {
    const listed = loopBody({
      nodes: [op('Gather', ['rows_of', 'i'], 'row'), op('Add', ['h', 'row'], 'both'), ...cell(a, 'both', 'next')],
      carried: [float('h', [1, K])],
      left: [float('next', [1, K])],
      scalarDims: [1],
    });
    const rows = { name: 'rows_of', dtype: 'float32' as const, dims: [4, K], data: gaussian(random(3), 4 * K) };
    const bytes = model([op('Loop', ['count', 'go', 'x'], ['y'], { body: { graph: listed } })], ['y'], {
      inputs: [float('x', [1, K]), int('count', [1])],
      initializers: [rows, { name: 'go', dtype: 'bool', dims: [1], data: Uint8Array.of(1) }],
    });
    isInMsd(await compare(bytes, [{ x: rowsOf(1), count: longs(4, [1]) }]));
  });

  it('takes values from outside, and names that stand outside, too', async () => {
    const inner = loopBody({
      nodes: [
        a.node('outer', 'p'),
        op('Add', ['h', 'p'], 'y'),
        op('Add', ['y', 'bias'], 'shifted'),
        op('Selu', ['shifted'], 'bent'),
        ...cell(b, 'bent', 'next'),
      ],
      carried: [float('h', ['rows', K])],
      left: [float('next', ['rows', K]), float('y', ['rows', K])],
      initializers: [{ name: 'bias', dtype: 'float32', dims: [K], data: gaussian(random(4), K) }],
    });
    const nodes = [
      op('Mul', ['x', 'half'], 'outer'),
      op('Loop', ['count', '', 'x'], ['last', 'y'], { body: { graph: inner } }),
      a.node('last', 'end'),
    ];
    const bytes = model(nodes, ['end', 'y'], {
      inputs: [float('x', ['rows', K]), int('count')],
      initializers: [number('half', 0.5), scalar('bias', 7)],
    });
    // Small ones are copied in every pass, larger ones held for all.
    const feeds = [3, 3, 12, 16, 20, 24, 28, 12].map((rows, i) => ({ x: rowsOf(rows, i), count: longs(i % 4) }));
    const report = await compare(bytes, feeds);
    isInMsd(report);
    // Selu runs in ONNX Runtime, once for each pass.
    expect(report.foreignRunsPerCall).toBe(1);
    expect(report.foreignSessions).toBe(1);
    expect(report.nodes.find(({ opType }) => opType === 'Selu')).toMatchObject({
      where: 'ort',
      inside: 'the Loop of last/body',
    });
    // The matrix that both multiply with is there once.
    const alone = await compare(model([a.node('x', 'h'), b.node('h', 'y')], ['y']), [{ x: rowsOf(2) }]);
    expect(report.weights.packedBytes).toBe(alone.weights.packedBytes);
  });

  it('stands in a loop, in a branch, and holds branches', async () => {
    const innermost = loopBody({
      nodes: [
        op('Mod', ['i2', 'two'], 'odd'),
        op('Cast', ['odd'], 'is_odd', { to: { int: 9 } }),
        op('If', ['is_odd'], 'next', {
          then_branch: { graph: { nodes: cell(a, 'g', 'r'), inputs: [], outputs: [float('r')] } },
          else_branch: { graph: { nodes: cell(b, 'g', 'r'), inputs: [], outputs: [float('r')] } },
        }),
      ],
      carried: [float('g', ['rows', K])],
      left: [float('next', ['rows', K])],
      suffix: '2',
    });
    const outer = loopBody({
      nodes: [
        op('Add', ['i', 'two'], 'times'),
        op('Add', ['h', 'x'], 'begin'),
        op('Loop', ['times', '', 'begin'], ['inner'], { body: { graph: innermost } }),
        ...cell(a, 'inner', 'next_h'),
      ],
      carried: [float('h', ['rows', K])],
      left: [float('next_h', ['rows', K]), float('inner', ['rows', K])],
    });
    const loopNode = op('Loop', ['count', '', 'x'], ['r', 's'], { body: { graph: outer } });
    const branched = op('If', ['flag'], ['y', 'all'], {
      then_branch: { graph: { nodes: [loopNode], inputs: [], outputs: [float('r'), float('s')] } },
      else_branch: {
        graph: {
          nodes: [op('Neg', ['x'], 'r'), op('Unsqueeze', ['x', 'front'], 's')],
          inputs: [],
          outputs: [float('r'), float('s')],
        },
      },
    });
    const bytes = model([branched], ['y', 'all'], {
      inputs,
      initializers: [scalar('two', 2), scalar('front', 0, [1])],
    });
    const feeds = [
      [2, true],
      [3, true],
      [1, false],
      [0, true],
    ].map(([count, flag]) => ({ x: rowsOf(2), count: longs(count as number), flag: bools(flag as boolean) }));
    const report = await compare(bytes, feeds);
    isInMsd(report);
    expect(report.branches).toHaveLength(2);
    expect(new Set(products(report).map(({ inside }) => inside?.split('/').length))).toEqual(new Set([4, 8]));
  });

  it('a loop without a product is a node like others, and so is one that does not pay', async () => {
    const plain = loopBody({
      nodes: [op('Mul', ['h', 'h'], 'next')],
      carried: [float('h')],
      left: [float('next')],
    });
    const bytes = model([a.node('x', 'p'), op('Loop', ['count', '', 'p'], ['y'], { body: { graph: plain } })], ['y'], {
      inputs: [float('x', ['rows', K]), int('count')],
    });
    const report = await compare(bytes, [{ x: rowsOf(2), count: longs(2) }]);
    expect(report.nodes.find(({ opType }) => opType === 'Loop')).toMatchObject({
      where: 'ort',
      reason: 'op is not claimed by this version',
    });
    expect(report.nodes.find(({ opType }) => opType === 'Mul')).toMatchObject({ where: 'ort' });
    const small: TensorSpec = {
      name: 'W',
      dtype: 'float32',
      dims: [K, K],
      data: gaussian(random(3), K * K).map((value) => value / 16),
    };
    const floatBody = loopBody({
      nodes: [op('MatMul', ['h', 'W'], 'sums'), op('Sub', ['sums', 'h'], 'next')],
      carried: [float('h', ['rows', K])],
      left: [float('next', ['rows', K])],
    });
    const beside = model(
      [a.node('x', 'p'), op('Loop', ['count', '', 'p'], ['y'], { body: { graph: floatBody } })],
      ['y'],
      {
        inputs: [float('x', ['rows', K]), int('count')],
        initializers: [small],
      },
    );
    const cut = await compare(beside, [{ x: rowsOf(2), count: longs(2) }]);
    expect(cut.nodes.find(({ opType }) => opType === 'Loop')!.reason).toMatch(/^Loop: a cut does not pay: predicted/);
    const alone = model([op('Loop', ['count', '', 'x'], ['y'], { body: { graph: floatBody } })], ['y'], {
      inputs: [float('x', ['rows', K]), int('count')],
      initializers: [small],
    });
    const whole = await compare(alone, [{ x: rowsOf(2), count: longs(2) }]);
    expect(whole.whole).toMatch(/^no node is claimed, outside of Loop 'the Loop of y': a cut does not pay: predicted/);
  });

  it('constants of the outside that nodes make are made once, and packed once', async () => {
    const codes: TensorSpec = {
      name: 'codes',
      dtype: 'int8',
      dims: [K, K],
      data: Int8Array.from({ length: K * K }, (_, i) => ((i * 37) % 251) - 125),
    };
    const inner = loopBody({
      nodes: [op('MatMul', ['h', 'turned'], 'sums'), op('Tanh', ['sums'], 'next')],
      carried: [float('h', ['rows', K])],
      left: [float('next', ['rows', K])],
    });
    const nodes = [
      op('DequantizeLinear', ['codes', 'scale'], 'W'),
      op('Transpose', ['W'], 'turned', { perm: { ints: [1, 0] } }),
      op('MatMul', ['x', 'turned'], 'p'),
      op('Loop', ['count', '', 'p'], ['y'], { body: { graph: inner } }),
    ];
    const bytes = model(nodes, ['y'], {
      inputs: [float('x', ['rows', K]), int('count')],
      initializers: [codes, number('scale', 1 / 500)],
    });
    const report = await compare(
      bytes,
      [0, 4].map((count) => ({ x: rowsOf(3), count: longs(count) })),
    );
    expect(report.whole).toBeUndefined();
    const found = report.nodes.filter(({ opType }) => opType === 'MatMul');
    expect(found.map(({ where }) => where)).toEqual(['msd', 'msd']);
    expect(report.weights.fileBytes).toBe(K * K + 4);
  });

  it('weights of a body may lie in a file of their own', async () => {
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
    const around = (initializers: GraphSpec['initializers']): Uint8Array => {
      const graph = loopBody({
        nodes: [inner.node('h', 'sums'), op('Tanh', ['sums'], 'bent'), ...cell(a, 'bent', 'next')],
        carried: [float('h', ['rows', K])],
        left: [float('next', ['rows', K])],
      });
      const node = op('Loop', ['count', '', 'x'], ['y'], { body: { graph: { ...graph, initializers } } });
      return model([node], ['y'], { inputs: [float('x', ['rows', K]), int('count')] });
    };
    const externalData = [{ path: 'weights.bin', data: new Uint8Array(Buffer.concat(parts)) }];
    // ONNX Runtime itself does not find what a body has outside.
    const [bytes, reference] = [around(outside), around(inner.initializers)];
    const feeds = [0, 3].map((count) => ({ x: rowsOf(2), count: longs(count) }));
    isInMsd(await compare(bytes, feeds, { externalData }, reference));
  });

  it('what it is given and leaves is nobody else’s', async () => {
    const kept = loopBody({
      nodes: [op('Identity', ['h'], 'same'), ...cell(a, 'g', 'next')],
      carried: [float('h', ['rows', K]), float('g', ['rows', K])],
      left: [float('same', ['rows', K]), float('next', ['rows', K])],
    });
    const bytes = model([op('Loop', ['count', '', 'x', 'x'], ['y', 'z'], { body: { graph: kept } })], ['y', 'z'], {
      inputs: [float('x', ['rows', K]), int('count')],
    });
    const s = await session(bytes);
    const x = rowsOf(1);
    for (const count of [0, 2]) {
      const { y, z } = await s.run({ x, count: longs(count) });
      const buffers = [x, y!, z!].map(({ data }) => (data as Float32Array).buffer);
      expect(new Set(buffers).size).toBe(3);
    }
    await s.release();
  });

  it('in a function of the file, called twice: each call multiplies with its own weights', async () => {
    const other = makeMatrix({ name: 'd', N: K, K, seed: 12 });
    const inner = loopBody({
      nodes: [
        // A constant that a node makes: by the same name in both calls.
        op('Identity', ['Q'], 'codes'),
        { ...a.node('h', 'p'), inputs: ['h', 'codes', 'scales'] },
        op('Mul', ['p', 'quarter'], 'small'),
        op('Tanh', ['small'], 'next'),
      ],
      carried: [float('h', ['rows', K])],
      left: [float('next', ['rows', K])],
    });
    const call = (x: string, matrix: typeof a, y: string): NodeSpec => ({
      ...op('Layer', [x, `${matrix.name}_Q`, `${matrix.name}_scales`, 'damp', 'count'], y),
      domain: 'of.this.file',
    });
    const bytes = writeModel({
      opsets: { '': 21, 'com.microsoft': 1, 'of.this.file': 1 },
      functions: [
        {
          name: 'Layer',
          domain: 'of.this.file',
          inputs: ['x', 'Q', 'scales', 'quarter', 'count'],
          outputs: ['y'],
          nodes: [op('Loop', ['count', '', 'x'], ['y'], { body: { graph: inner } })],
          opsets: { '': 21, 'com.microsoft': 1 },
        },
      ],
      graph: {
        nodes: [call('x', a, 'h'), call('h', other, 'y')],
        initializers: [...a.initializers, ...other.initializers, number('damp', 1 / 4)],
        inputs: [float('x', ['rows', K]), int('count')],
        outputs: [float('y')],
      },
    });
    const feeds = [2, 3].map((count) => ({ x: rowsOf(2), count: longs(count) }));
    const report = await compare(bytes, feeds);
    isInMsd(report);
    expect(products(report)).toHaveLength(2);
    const alone = await compare(model([a.node('x', 'y')], ['y']), [{ x: rowsOf(1) }]);
    expect(report.weights.fileBytes).toBeGreaterThan(1.9 * alone.weights.fileBytes);
  });

  describe('lists that it makes', () => {
    /** @param position where SequenceInsert puts what it adds; '' = at the end */
    const listed = (axis: number, more: Partial<{ position: string; reader: NodeSpec; outputs: string[] }> = {}) => {
      const { position = '', reader, outputs = ['y', 'stacked', 'each', 'other'] } = more;
      const inner = loopBody({
        nodes: [
          ...cell(a, 'h', 'next'),
          op('Relu', ['next'], 'told'),
          op('SequenceInsert', position === '' ? ['list', 'told'] : ['list', 'told', position], 'longer'),
          op('SequenceInsert', ['second', 'h'], 'longer second'),
        ],
        carried: [{ name: 'list' }, float('h', ['rows', K]), { name: 'second' }],
        left: [{ name: 'longer' }, float('next', ['rows', K]), { name: 'longer second' }, float('told')],
      });
      const nodes = [
        op('SequenceEmpty', [], 'none'),
        op('SequenceEmpty', [], 'nothing'),
        op('Loop', ['count', '', 'none', 'x', 'nothing'], ['made', 'y', 'made second', 'each'], {
          body: { graph: inner },
        }),
        reader ?? op('ConcatFromSequence', ['made'], 'stacked', { axis: { int: axis }, new_axis: { int: 1 } }),
        op('ConcatFromSequence', ['made second'], 'other', { axis: { int: 0 }, new_axis: { int: 1 } }),
      ];
      return model(nodes, outputs, {
        inputs: [float('x', ['rows', K]), int('count')],
        initializers: [scalar('zero', 0)],
      });
    };
    const feeds = [1, 4].map((count) => ({ x: rowsOf(2), count: longs(count) }));

    it.each([0, 1, 2, -1, -2])('and are stacked behind it, along axis %i, are results of it', async (axis) => {
      const report = await compare(listed(axis), feeds);
      isInMsd(report);
      expect(report.nodes.map(({ opType }) => opType)).not.toContain('SequenceInsert');
      expect(report.foreignRunsPerCall).toBe(axis === 0 ? 0 : 1);
    });

    it.each([
      ['from the front', { position: 'zero' }],
      ['for somebody who looks at one of them', { reader: op('SequenceAt', ['made', 'zero'], 'stacked') }],
      ['and put one behind the other', { reader: op('ConcatFromSequence', ['made'], 'stacked', { axis: { int: 0 } }) }],
    ])('%s stay lists', async (_, more) => {
      const report = await compare(listed(0, more), feeds);
      expect(report.whole).toMatch(/is not a tensor but sequence|something that is not a tensor|unknown/);
    });
  });

  it('is stopped between passes, and others have their turn', async () => {
    const forever = model(
      [op('Loop', ['', '', 'x'], ['y', 'all'], { body: { graph: { ...step, nodes: step.nodes } } })],
      ['y'],
      {
        inputs: [float('x', ['rows', K])],
      },
    );
    const s = await session(forever);
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 60);
    const stopped = s.run({ x: rowsOf(1) }, { signal: controller.signal } as object);
    await expect(stopped).rejects.toThrow('stopped by its AbortSignal');
    const options = { terminate: false };
    setTimeout(() => {
      options.terminate = true;
    }, 60);
    await expect(s.run({ x: rowsOf(1) }, options)).rejects.toThrow('terminate');
    await s.release();
  });

  it('is in the profile, and its memory in the report', async () => {
    const s = await session(looped, 'msd', { enableProfiling: true });
    await s.run({ x: rowsOf(2), count: longs(3), flag: bools(true) });
    s.endProfiling();
    const { profile, memory, plans } = reportOf(s)!;
    const names = profile!.map(({ name }) => name);
    expect(names.filter((name) => name === 'msd_region_the Loop of y/body/0')).toHaveLength(3);
    expect(names).toContain('msd_region_0');
    expect(memory.scratch.intermediates).toBeGreaterThan(0);
    expect(plans).toBe(2);
    await s.release();
  });

  it('runs that overlap are served in their order', async () => {
    const s = await session(looped);
    const plain = await session(looped, 'wasm');
    const feeds = [3, 1, 4].map((count, i) => ({ x: rowsOf(2, i + 1), count: longs(count), flag: bools(true) }));
    const got = await Promise.all(feeds.map((each) => s.run(each)));
    for (const [i, each] of feeds.entries()) {
      const { y } = await plain.run(each);
      expect(got[i]!.y!.dims).toEqual(y!.dims);
      const most = Math.max(...floats(y).map((value, at) => Math.abs(value - floats(got[i]!.y)[at]!)));
      expect(most).toBeLessThan(1e-3);
    }
    await s.release();
    await plain.release();
  });

  it.each([
    [
      'the number of the pass has no declared shape',
      { 0: { name: 'i', dtype: 'int64' } },
      'the number of the pass is not declared as one int64',
    ],
    ['the condition is a matrix', { 1: bool('going', [1, 1]) }, 'the condition is not declared as one bool'],
    ['the condition is a number', { 1: int('going') }, 'the condition is not declared as one bool'],
  ] as const)('%s: it stays a node', async (_, changed, reason) => {
    const inputs_ = step.inputs.map((input, i) => (changed as Record<number, ValueSpec>)[i] ?? input);
    const bytes = model(
      [
        a.node('x', 'p'),
        op('Loop', ['count', 'flag', 'p'], ['y', 'all'], { body: { graph: { ...step, inputs: inputs_ } } }),
      ],
      ['p'],
      { inputs },
    );
    const s = await session(bytes);
    const { nodes } = reportOf(s)!;
    expect(nodes.find(({ opType }) => opType === 'Loop')!.reason).toBe(`Loop: ${reason}`);
    await s.release();
  });

  it('results of other shapes in every pass cannot be put together', async () => {
    const grow = loopBody({
      nodes: [...cell(a, 'h', 'bent'), op('Concat', ['bent', 'bent'], 'longer', { axis: { int: 0 } })],
      carried: [float('h')],
      left: [float('longer'), float('bent')],
    });
    const bytes = model([op('Loop', ['count', '', 'x'], ['y', 'all'], { body: { graph: grow } })], ['y', 'all'], {
      inputs: [float('x', ['rows', K]), int('count')],
    });
    const s = await session(bytes, { name: 'msd', claim: 'all' });
    await expect(s.run({ x: rowsOf(1), count: longs(2) })).rejects.toThrow(
      "run: node 'the Loop of y' (Loop): output 1, expected the same shape in every pass, got [1, 160] and [2, 160].",
    );
    await s.release();
  });
});

describe('If', () => {
  it('that floats decide: its branches are planned, with what they take from outside', async () => {
    const nodes = [
      a.node('x', 'p'),
      op('ReduceSum', ['x'], 'sum', { keepdims: { int: 0 } }),
      op('Greater', ['sum', 'zero'], 'positive'),
      op('If', ['positive'], ['y', 'z'], {
        then_branch: {
          graph: {
            nodes: [...cell(b, 'p', 'r'), op('Identity', ['x'], 's')],
            inputs: [],
            outputs: [float('r'), float('s')],
          },
        },
        else_branch: {
          graph: {
            nodes: [op('Selu', ['p'], 'r'), op('Concat', ['x', 'p'], 's', { axis: { int: 0 } })],
            inputs: [],
            outputs: [float('r'), float('s')],
          },
        },
      }),
      ...cell(b, 'y', 'end'),
    ];
    const bytes = model(nodes, ['end', 'z'], { initializers: [number('zero', 0)] });
    const ones = (value: number): ort.Tensor => tensor(new Float32Array(2 * K).fill(value), [2, K]);
    const report = await compare(bytes, [{ x: ones(1) }, { x: ones(-1) }, { x: rowsOf(3) }]);
    isInMsd(report);
    expect(products(report)).toHaveLength(3);
    expect(report.nodes.find(({ opType }) => opType === 'If')).toMatchObject({ where: 'msd' });
  });
});

describe('Scan', () => {
  interface ScanOptions {
    readonly attributes?: Readonly<Record<string, AttributeSpec>>;
    /** Of x; null = it does not say. */
    readonly dims?: ValueSpec['dims'] | null;
    readonly second?: boolean;
    readonly opset?: number;
  }
  /** A layer as exporters of recurrent cells leave it: h = tanh(h · A + x[t]), and what two sequences have in each place. */
  const scanned = ({ attributes = {}, dims = ['T', 'B', K], second = false, opset = 18 }: ScanOptions): Uint8Array => {
    const slices = [float('xt', ['B', K]), ...(second ? [float('zt', ['B', 3])] : [])];
    const told = second ? [op('ReduceMax', ['zt', 'last'], 'most')] : [];
    const cellGraph: GraphSpec = {
      nodes: [op('Add', ['h', 'xt'], 'both'), ...cell(a, 'both', 'next'), op('Neg', ['next'], 'negative'), ...told],
      inputs: [float('h', ['B', K]), ...slices],
      outputs: [float('next', ['B', K]), float('negative', ['B', K]), ...(second ? [float('most', ['B', 1])] : [])],
    };
    const names = ['h_', 'all', ...(second ? ['most_'] : [])];
    const graph: GraphSpec = {
      nodes: [
        op('Scan', ['h0', 'x', ...(second ? ['z'] : [])], names, {
          num_scan_inputs: { int: slices.length },
          body: { graph: cellGraph },
          ...attributes,
        }),
        b.node('h_', 'y'),
      ],
      initializers: [
        ...a.initializers,
        ...b.initializers,
        number('damp a', 1 / 4),
        ...(second ? [{ name: 'last', dtype: 'int64' as const, dims: [1], data: BigInt64Array.of(-1n) }] : []),
      ],
      inputs: [float('h0', ['B', K]), float('x', dims ?? undefined), ...(second ? [float('z')] : [])],
      outputs: ['y', ...names].map((name) => float(name)),
    };
    return writeModel({ opsets: { '': opset, 'com.microsoft': 1 }, graph });
  };
  const of = (seed: number, ...dims: number[]): ort.Tensor =>
    tensor(
      gaussian(
        random(seed),
        dims.reduce((product, dim) => product * dim, 1),
      ),
      dims,
    );

  it.each([9, 11, 16, 18])('of opset %i', async (opset) => {
    const feeds = [1, 5, 2].map((T) => ({ h0: of(1, 2, K), x: of(T, T, 2, K) }));
    const report = await compare(scanned({ opset }), feeds);
    isInMsd(report);
    expect(report.foreignRunsPerCall).toBe(0);
    expect(report.plans).toBeLessThanOrEqual(4);
  });

  it.each([
    [[0], [0], 0, 0],
    [[0], [1], 1, 1],
    [[1], [0], 0, 1],
    [[-2], [1], 0, -1],
    [[2], [0], 1, 2],
  ] as const)('along axis %j, directions %j, results along %i or %i', async ([axis], [direction], to, other) => {
    for (const second of [false, true]) {
      const [T, B] = [4, 3];
      const at = axis < 0 ? axis + 3 : axis;
      const dims = [B, K].toSpliced(at, 0, T);
      const z = [B, 3].toSpliced(1, 0, T);
      const attributes = {
        scan_input_axes: { ints: second ? [axis, 1] : [axis] },
        scan_input_directions: { ints: second ? [direction, 1 - direction] : [direction] },
        scan_output_axes: { ints: second ? [to, other] : [to] },
        scan_output_directions: { ints: second ? [1 - direction, direction] : [1 - direction] },
      };
      const bytes = scanned({ attributes, second, dims: null });
      const feed = { h0: of(1, B, K), x: of(2, ...dims), ...(second && { z: of(3, ...z) }) };
      isInMsd(await compare(bytes, [feed]));
    }
  });

  it('of nothing leaves what it began with, and nothing', async () => {
    // ONNX Runtime refuses such a sequence.
    const s = await session(scanned({ dims: null }));
    const h0 = of(1, 2, K);
    const { h_, all } = await s.run({ h0, x: of(2, 0, 2, K) });
    expect(h_!.data).toEqual(h0.data);
    expect(h_!.data).not.toBe(h0.data);
    expect(all!.dims).toEqual([0, 0, K]);
    await s.release();
  });

  it('sequences of different lengths, and axes that are none, are refused', async () => {
    const two = await session(scanned({ second: true, dims: null }));
    const short = two.run({ h0: of(1, 2, K), x: of(2, 3, 2, K), z: of(3, 2, 2, 3) });
    await expect(short).rejects.toThrow(
      "run: node 'the Scan of h_' (Scan): scan input 1, expected 3 positions as the first has, got 2.",
    );
    await two.release();
    const far = await session(scanned({ attributes: { scan_input_axes: { ints: [3] } }, dims: null }));
    await expect(far.run({ h0: of(1, 2, K), x: of(2, 3, 2, K) })).rejects.toThrow(
      "run: node 'the Scan of h_' (Scan): axis, expected one of [3, 2, 160], got 3.",
    );
    await far.release();
    const out = await session(scanned({ attributes: { scan_output_axes: { ints: [-4] } }, dims: null }));
    await expect(out.run({ h0: of(1, 2, K), x: of(2, 3, 2, K) })).rejects.toThrow(
      "run: node 'the Scan of h_' (Scan): output 1, expected an axis of 3 dimensions, got -4.",
    );
    await out.release();
  });
});
