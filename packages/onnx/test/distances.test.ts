/** Distances between positions that become buckets, and biases of attention: what onnxruntime-web says, without ONNX Runtime. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import { type GraphSpec, type NodeSpec, type TensorSpec, type ValueSpec, writeModel } from '../src/write/index.ts';
import { op } from './merged.ts';
import { gaussian, makeMatrix, random } from './models.ts';
import { ort, session, tensor } from './ort.ts';

const HEADS = 4;
const matrix = makeMatrix({ N: 16, K: 32 });
const long = (name: string, value: number): TensorSpec => ({
  name,
  dtype: 'int64',
  dims: [],
  data: BigInt64Array.of(BigInt(value)),
});
const float = (name: string, value: number): TensorSpec => ({
  name,
  dtype: 'float32',
  dims: [],
  data: Float32Array.of(value),
});
const list = (name: string, ...values: number[]): TensorSpec => ({
  name,
  dtype: 'int64',
  dims: [values.length],
  data: BigInt64Array.from(values, BigInt),
});
const to = (code: number) => ({ to: { int: code } });
const [FLOAT, LONG] = [1, 7];

/** Positions of x's rows, as a row and as a column; `fed`: those of the caller. */
const positions = (fed: boolean): NodeSpec[] => [
  op('Shape', ['x'], 'shape'),
  op('Gather', ['shape', 'zero'], 'rows'),
  ...(fed ? [op('Identity', ['given'], 'at')] : [op('Range', ['zero', 'rows', 'one'], 'at')]),
  op('Unsqueeze', ['at', 'first'], 'row'),
  op('Unsqueeze', ['at', 'second'], 'column'),
];

/** T5's buckets, of both directions or of keys before; with Min, as MPNet's. */
function buckets({ isBoth = true, hasMin = false }): NodeSpec[] {
  const half = isBoth ? 'sixteen' : 'thirty_two';
  const smaller = (a: string, b: string, out: string): NodeSpec[] =>
    hasMin ? [op('Min', [a, b], out)] : [op('Less', [a, b], `${out}_is`), op('Where', [`${out}_is`, a, b], out)];
  return [
    op('Sub', ['row', 'column'], 'distance'),
    ...(isBoth
      ? [op('Abs', ['distance'], 'far')]
      : [...smaller('distance', 'zero', 'before'), op('Neg', ['before'], 'far')]),
    op('Cast', ['far'], 'far_float', to(FLOAT)),
    op('Div', ['far_float', 'eight_float'], 'ratio'),
    op('Log', ['ratio'], 'log'),
    op('Div', ['log', 'most_log'], 'share'),
    op('Mul', ['share', 'eight_float'], 'scaled'),
    op('Cast', ['scaled'], 'whole', to(LONG)),
    op('Add', ['whole', 'eight'], 'large'),
    ...smaller('large', `${half}_less`, 'largest'),
    op('Less', ['far', 'eight'], 'is_near'),
    op('Where', ['is_near', 'far', 'largest'], 'bucket'),
    op('Greater', ['distance', 'zero'], 'is_later'),
    op('Cast', ['is_later'], 'later', to(LONG)),
    op('Mul', ['later', isBoth ? 'sixteen' : 'zero'], 'other'),
    op('Add', ['other', 'bucket'], 'either'),
    op('Add', ['either', 'least'], 'buckets'),
  ];
}

const constants = (least = 0): TensorSpec[] => [
  long('zero', 0),
  long('one', 1),
  long('eight', 8),
  long('sixteen', 16),
  long('sixteen_less', 15),
  long('thirty_two', 32),
  long('thirty_two_less', 31),
  long('least', least),
  list('first', 0),
  list('second', 1),
  float('eight_float', 8),
  float('most_log', Math.log(16)),
];

interface Model {
  readonly nodes: readonly NodeSpec[];
  readonly outputs: readonly ValueSpec[];
  readonly initializers: readonly TensorSpec[];
  readonly isFed?: boolean;
}

/** Beside a product of x, which is what MSD is there for. */
function modelOf({ nodes, outputs, initializers, isFed = false }: Model): Uint8Array {
  const graph: GraphSpec = {
    nodes: [matrix.node('x', 'y'), ...positions(isFed), ...nodes],
    initializers: [...matrix.initializers, ...initializers],
    inputs: [
      { name: 'x', dtype: 'float32', dims: ['rows', 32] },
      ...(isFed ? [{ name: 'given', dtype: 'int64' as const, dims: ['rows'] }] : []),
    ],
    outputs: [{ name: 'y', dtype: 'float32' }, ...outputs],
  };
  return writeModel({ graph });
}

const table: TensorSpec = {
  name: 'table',
  dtype: 'float32',
  dims: [32, HEADS],
  data: gaussian(random(3), 32 * HEADS),
};
const bias = [
  op('Gather', ['table', 'buckets'], 'picked'),
  op('Transpose', ['picked'], 'bias', { perm: { ints: [2, 0, 1] } }),
];
const asLongs = (name: string): ValueSpec => ({ name, dtype: 'int64' });
const asFloats = (name: string): ValueSpec => ({ name, dtype: 'float32' });
const rowsOf = (rows: number): ort.Tensor => tensor(gaussian(random(5), rows * 32), [rows, 32]);
const longsOf = (numbers: readonly number[]): ort.Tensor =>
  new ort.Tensor('int64', BigInt64Array.from(numbers, BigInt), [numbers.length]);

/** Outputs but y on both engines, one run after the other. @returns what MSD left to ONNX Runtime */
async function compare(bytes: Uint8Array, feeds: readonly Record<string, ort.Tensor>[], what = ''): Promise<string[]> {
  const msd = await session(bytes, { name: 'msd', claim: 'all' });
  const plain = await session(bytes, 'wasm');
  for (const each of feeds) {
    const [got, want] = [await msd.run(each), await plain.run(each)];
    for (const name of plain.outputNames.filter((output) => output !== 'y')) {
      expect(got[name]!.dims, `${what} ${name}`).toEqual(want[name]!.dims);
      expect(got[name]!.type, `${what} ${name}`).toBe(want[name]!.type);
      const [a, b] = [got[name]!.data, want[name]!.data] as [Float32Array, Float32Array];
      expect(
        a.findIndex((value, i) => value !== b[i]),
        `${what} ${name}`,
      ).toBe(-1);
    }
  }
  const foreign = reportOf(msd)!.nodes.filter(({ where, region }) => where === 'ort' && region >= 0);
  await msd.release();
  await plain.release();
  return foreign.map(({ opType }) => opType);
}

describe('buckets of distances', () => {
  it.each([
    [{ isBoth: true }, 'as T5’s encoder has them'],
    [{ isBoth: false }, 'as its decoder'],
    [{ isBoth: true, hasMin: true }, 'as MPNet'],
  ] as const)('%o, %s', async (form, _) => {
    const model = { initializers: [...constants(), table], outputs: [asFloats('bias')] };
    const feeds = [1, 2, 17, 130, 0, 17].map((rows) => ({ x: rowsOf(rows) }));
    expect(await compare(modelOf({ nodes: [...buckets(form), ...bias], ...model }), feeds)).toEqual([]);
    const given = [[0, 1, 2], [7, 300, 2], [7, 300, 2], [5], [], [900, 0, 0, 40]];
    const fed = given.map((numbers) => ({ x: rowsOf(numbers.length), given: longsOf(numbers) }));
    expect(await compare(modelOf({ nodes: [...buckets(form), ...bias], ...model, isFed: true }), fed)).toEqual([]);
  });

  it('a bucket that the table does not have is an error, in every run', async () => {
    const nodes = [...buckets({}), ...bias];
    const bytes = modelOf({ nodes, initializers: [...constants(20), table], outputs: [asFloats('bias')] });
    const msd = await session(bytes, { name: 'msd', claim: 'all' });
    expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
    for (const rows of [40, 40, 130]) {
      await expect(msd.run({ x: rowsOf(rows) })).rejects.toThrow(
        /'picked' \(Gather\): indices\[\d+\] expected -32..31/,
      );
    }
    const { bias: fine } = await msd.run({ x: rowsOf(1) });
    expect(fine!.dims).toEqual([HEADS, 1, 1]);
    await msd.release();
  });

  it('an index beyond 32 bits is an error', async () => {
    const nodes = [...buckets({}), ...bias];
    const bytes = modelOf({ nodes, initializers: [...constants(2 ** 40), table], outputs: [asFloats('bias')] });
    const msd = await session(bytes, { name: 'msd', claim: 'all' });
    await expect(msd.run({ x: rowsOf(2) })).rejects.toThrow(/expected indices of 32 bits, got 1099511627776/);
    await msd.release();
  });

  it('what somebody else wants is ONNX Runtime’s: it may have 64 bits', async () => {
    const bytes = modelOf({ nodes: buckets({}), initializers: constants(2 ** 40), outputs: [asLongs('buckets')] });
    expect(await compare(bytes, [{ x: rowsOf(2) }])).toContain('Sub');
  });

  it('small tables of codes are floats before rows are chosen; others stay as they are', async () => {
    const codes = (name: string, rows: number): TensorSpec[] => [
      { name, dtype: 'int8', dims: [rows, HEADS], data: Int8Array.from({ length: rows * HEADS }, (_, i) => 37 * i) },
      float(`${name}_scale`, 0.03),
      { name: `${name}_zero`, dtype: 'int8', dims: [], data: Int8Array.of(5) },
    ];
    const rows = (name: string, indices: string, out: string): NodeSpec[] => [
      op('Gather', [name, indices], `${out}_codes`),
      op('DequantizeLinear', [`${out}_codes`, `${name}_scale`, `${name}_zero`], out),
    ];
    const nodes = [...buckets({}), ...rows('few', 'buckets', 'bias'), ...rows('many', 'at', 'words')];
    const initializers = [...constants(), ...codes('few', 32), ...codes('many', 400)];
    const bytes = modelOf({ nodes, initializers, outputs: [asFloats('bias'), asFloats('words')] });
    expect(await compare(bytes, [{ x: rowsOf(3) }, { x: rowsOf(140) }])).toEqual([]);
  });
});

/** Arithmetic of any kind on rows and columns of positions, with a logarithm among it. */
function drawn(next: () => number): { readonly nodes: NodeSpec[]; readonly ends: string[] } {
  const nodes: NodeSpec[] = [op('Sub', ['row', 'column'], 'd')];
  const longs = ['d', 'row', 'column'];
  const pick = (from: readonly string[]): string => from[Math.floor(next() * from.length)]!;
  const number = (): string => pick(['zero', 'one', 'eight', 'sixteen']);
  const add = (opType: string, inputs: readonly string[], attributes = {}): string => {
    const name = `n${nodes.length}`;
    nodes.push(op(opType, inputs, name, attributes));
    return name;
  };
  const whole = (): string => (next() < 0.7 ? pick(longs) : number());
  const bool = (): string => {
    const compared = add(pick(['Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual', 'Equal']), ['d', whole()]);
    if (next() < 0.5) return compared;
    const other = add('Less', [whole(), 'd']);
    return next() < 0.3 ? add('Not', [other]) : add(pick(['And', 'Or', 'Xor']), [compared, other]);
  };
  for (let i = 0; i < 8; i++) {
    const kind = Math.floor(next() * 8);
    if (kind === 0) longs.push(add('Where', [bool(), whole(), 'd']));
    else if (kind === 1) longs.push(add(pick(['Abs', 'Neg']), [pick(longs)]));
    else if (kind === 2) longs.push(add(pick(['Div', 'Mod']), [pick(longs), pick(['eight', 'sixteen'])]));
    else if (kind === 3) longs.push(add('Cast', [bool()], to(LONG)));
    else if (kind === 4) longs.push(add(pick(['Min', 'Max']), ['d', whole(), whole()]));
    else if (kind === 5) longs.push(add('Mul', [pick(longs), pick(['one', 'eight'])]));
    else longs.push(add(pick(['Add', 'Sub']), [pick(longs), whole()]));
  }
  const far = add('Cast', [add('Abs', [add('Sub', [longs.at(-1)!, 'd'])])], to(FLOAT));
  const log = add('Log', [add(pick(['Div', 'Mul']), [far, 'most_log'])]);
  const least = add(pick(['Floor', 'Ceil']), [add('Mul', [log, 'eight_float'])]);
  const near = add('Where', [add('Greater', [far, 'most_log']), least, 'eight_float']);
  const end = add('Add', [add('Cast', [near], to(LONG)), 'd']);
  // Every element becomes the row of a table, from either end of it.
  const ends = [end, 'd', pick(longs)].map((name) => add('Gather', ['numbers', add('Mod', [name, 'size'])]));
  return { nodes, ends };
}

const SIZE = 2 ** 12;
const numbers: TensorSpec[] = [
  { name: 'numbers', dtype: 'float32', dims: [SIZE, 1], data: Float32Array.from({ length: SIZE }, (_, i) => i) },
  long('size', SIZE),
];

describe('arithmetic of large tensors', () => {
  const COUNT = process.env.MSD_TEST_ALL === '1' ? 300 : 20;
  it('is what onnxruntime-web computes, whatever it is made of', { timeout: 120_000 }, async () => {
    for (let seed = 1; seed <= COUNT; seed++) {
      const next = random(seed);
      const { nodes, ends } = drawn(next);
      const isFed = next() < 0.4;
      const initializers = [...constants(), ...numbers];
      const bytes = modelOf({ nodes, initializers, outputs: ends.map(asFloats), isFed });
      const feeds = [3, 0, 1, 70].map((rows) => ({
        x: rowsOf(rows),
        ...(isFed && { given: longsOf(Array.from({ length: rows }, () => Math.floor(next() * 200) - 100)) }),
      }));
      expect(await compare(bytes, feeds, `seed ${seed}`)).not.toContain('Log');
    }
  });
});
