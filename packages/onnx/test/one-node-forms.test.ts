/** Nodes in forms that no exporter writes, but that ONNX Runtime takes: flags beyond 0 and 1, operands that repeat or are left out. */
import { describe, expect, it } from 'vitest';
import { countOf } from '../src/dims.ts';
import { reportOf } from '../src/register.ts';
import { type AttributeSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { CLOSE, relativeMost } from './close.ts';
import { gaussian, random } from './models.ts';
import { floats, ort, session } from './ort.ts';

interface Operand {
  readonly dtype: 'float32' | 'int32';
  readonly dims: readonly number[];
  /** Default: Gaussian. */
  readonly data?: readonly number[];
}
const f = (...dims: number[]): Operand => ({ dtype: 'float32', dims });
const i32 = (...data: number[]): Operand => ({ dtype: 'int32', dims: [data.length], data });
const ints = (attributes: Readonly<Record<string, number>>): Record<string, AttributeSpec> =>
  Object.fromEntries(Object.entries(attributes).map(([name, int]) => [name, { int }]));

interface Form {
  readonly op: string;
  readonly domain?: string;
  readonly operands: readonly Operand[];
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
  readonly outputs?: number;
}

function tensorsOf({ operands }: Form): ort.Tensor[] {
  const next = random(11);
  return operands.map(({ dtype, dims, data = [] }) => {
    if (dtype === 'float32') return new ort.Tensor('float32', gaussian(next, countOf(dims)), dims);
    return new ort.Tensor('int32', Int32Array.from(data), dims);
  });
}

/** @param inFile whether all operands but the first are the file's */
function modelOf(form: Form, tensors: readonly ort.Tensor[], inFile: boolean): Uint8Array {
  const { op, domain = '', attributes = {}, outputs = 1 } = form;
  const named = tensors.map((tensor, i) => ({ tensor, name: `x${i}`, isFixed: inFile && i > 0 }));
  const made = Array.from({ length: outputs }, (_, i) => `y${i}`);
  const node: NodeSpec = { opType: op, domain, inputs: named.map(({ name }) => name), outputs: made, attributes };
  return writeModel({
    opsets: { '': 23, 'com.microsoft': 1 },
    graph: {
      nodes: [node],
      initializers: named.flatMap(({ tensor, name, isFixed }): TensorSpec[] =>
        isFixed
          ? [{ name, dtype: tensor.type as 'float32', dims: tensor.dims, data: tensor.data as Float32Array }]
          : [],
      ),
      inputs: named.flatMap(({ tensor, name, isFixed }) =>
        isFixed ? [] : [{ name, dtype: tensor.type, dims: [...tensor.dims] }],
      ),
      outputs: made.map((name) => ({ name, dtype: 'float32' })),
    },
  });
}

/** Both engines on one form, operands fed and of the file. @returns where the node ran, and why */
async function compared(form: Form): Promise<readonly (string | undefined)[]> {
  const tensors = tensorsOf(form);
  const places: (string | undefined)[] = [];
  for (const inFile of [false, true]) {
    const bytes = modelOf(form, tensors, inFile);
    const [plain, msd] = [await session(bytes, 'wasm'), await session(bytes, { name: 'msd', claim: 'all' })];
    const feeds = Object.fromEntries(plain.inputNames.map((name) => [name, tensors[Number(name.slice(1))]!]));
    const [expected, got] = [await plain.run(feeds), await msd.run(feeds)];
    for (const name of plain.outputNames) {
      expect(got[name]!.dims, name).toEqual(expected[name]!.dims);
      expect(relativeMost(floats(got[name]), floats(expected[name])), name).toBeLessThan(CLOSE);
    }
    const { where, reason } = reportOf(msd)!.nodes[0]!;
    places.push(where === 'msd' ? 'msd' : reason);
    for (const each of [plain, msd]) await each.release();
  }
  return places;
}

describe('flags', () => {
  const heads = [f(1, 2, 5, 8), f(1, 2, 5, 8), f(1, 2, 5, 8)];
  const pool = { kernel_shape: { ints: [3] }, strides: { ints: [2] } };
  const flags: readonly (readonly [string, Form])[] = [
    ['is_causal', { op: 'Attention', operands: heads }],
    ['interleaved', { op: 'RotaryEmbedding', operands: [f(1, 2, 3, 8), f(1, 3, 4), f(1, 3, 4)] }],
    ['ceil_mode', { op: 'AveragePool', operands: [f(1, 2, 6)], attributes: pool }],
    ['ceil_mode', { op: 'MaxPool', operands: [f(1, 2, 6)], attributes: pool }],
  ];
  it.each(flags)('%s is set by 1 alone: %o', async (name, form) => {
    for (const value of [-1, 0, 1, 2]) {
      const places = await compared({ ...form, attributes: { ...form.attributes, ...ints({ [name]: value }) } });
      expect(places).toEqual(['msd', 'msd']);
    }
  });

  it('a window of no keys is ONNX Runtime’s', async () => {
    const rows = f(1, 3, 32);
    const empty = f(1, 2, 0, 16);
    const form: Form = {
      op: 'GroupQueryAttention',
      domain: 'com.microsoft',
      operands: [rows, rows, rows, empty, empty, i32(2), i32(3)],
      attributes: ints({ num_heads: 2, kv_num_heads: 2, local_window_size: 0 }),
      outputs: 3,
    };
    const [fed] = await compared(form);
    expect(fed).toBe('GroupQueryAttention: local_window_size 0');
  });
});

describe('scales and biases of norms', () => {
  const x = f(2, 3, 4, 5);
  const along: readonly (readonly [axis: number, scale: Operand])[] = [
    [-1, f(5)],
    [-1, f(1, 5)],
    [-2, f(4, 5)],
    [1, f(1, 3, 4, 5)],
  ];
  const others: readonly (readonly [axis: number, scale: Operand])[] = [
    [-1, f(1)],
    [-1, f()],
    [-1, f(4, 5)],
    [-1, f(4, 1)],
    [-1, f(2, 3, 4, 5)],
    [-2, f(5)],
    [1, f(5)],
    [1, f(3, 1, 1)],
    [1, f(2, 1, 1, 1)],
  ];
  describe.each(['LayerNormalization', 'RMSNormalization', 'SimplifiedLayerNormalization'])('%s', (op) => {
    it.each(along)('axis %i, along it: %o', async (axis, scale) => {
      expect(await compared({ op, operands: [x, scale], attributes: ints({ axis }) })).toEqual(['msd', 'msd']);
    });
    it.each(others)('axis %i, repeated in another way: %o', async (axis, scale) => {
      expect(await compared({ op, operands: [x, scale], attributes: ints({ axis }) })).toEqual(['msd', 'msd']);
    });
  });
  it.each<readonly [number, Operand, Operand]>([
    [-1, f(5), f(4, 5)],
    [-2, f(4, 5), f(5)],
    [-1, f(5), f(4, 1)],
  ])('LayerNormalization, axis %i, of a bias alone: %o, %o', async (axis, scale, bias) => {
    const form = { op: 'LayerNormalization', operands: [x, scale, bias], attributes: ints({ axis }) };
    expect(await compared(form)).toEqual(['msd', 'msd']);
  });
  it('as many numbers as a row has, each for another row', async () => {
    const form = { op: 'LayerNormalization', operands: [f(2, 5, 5), f(5, 1)], attributes: ints({ axis: -1 }) };
    expect(await compared(form)).toEqual(['msd', 'msd']);
  });
});

describe('norms of one session, whose sizes change', () => {
  const steps: readonly (readonly [x: number[], scale: number[]])[] = [
    [[3, 5], [5]],
    [[3, 5], [1]],
    [[1, 1], [1]],
    [
      [3, 5],
      [3, 1],
    ],
    [
      [3, 1],
      [3, 5],
    ], // the result would be larger than x
    [[3, 5], [3]],
    [
      [3, 5],
      [1, 3, 5],
    ],
    [[0, 5], []],
    [
      [4, 2],
      [4, 2],
    ],
    [[3, 5], [5]],
  ];
  it.each(['LayerNormalization', 'RMSNormalization'])('%s', async (op) => {
    const bytes = writeModel({
      opsets: { '': 23 },
      graph: {
        nodes: [{ opType: op, domain: '', name: 'n', inputs: ['x', 'scale'], outputs: ['y'], attributes: {} }],
        initializers: [],
        inputs: ['x', 'scale'].map((name) => ({ name, dtype: 'float32' as const })),
        outputs: [{ name: 'y', dtype: 'float32' }],
      },
    });
    const [plain, msd] = [await session(bytes, 'wasm'), await session(bytes, { name: 'msd', claim: 'all' })];
    const next = random(3);
    const tensorOf = (dims: readonly number[]) => new ort.Tensor('float32', gaussian(next, countOf(dims)), dims);
    for (const [x, scale] of steps) {
      const feeds = { x: tensorOf(x), scale: tensorOf(scale) };
      const label = `[${x}] · [${scale}]`;
      const want = await plain.run(feeds).catch(() => undefined);
      if (want) {
        const { y } = await msd.run(feeds);
        expect(y!.dims, label).toEqual(want.y!.dims);
        expect(relativeMost(floats(y), floats(want.y)), label).toBeLessThan(CLOSE);
      } else
        await expect(msd.run(feeds), label).rejects.toThrow(
          `run: node 'n' (${op}): scale, expected dimensions that repeat to [${x.join(', ')}], those of x, got [${scale.join(', ')}].`,
        );
    }
    expect(reportOf(msd)!.nodes[0]!.where).toBe('msd');
    for (const each of [plain, msd]) await each.release();
  });
});

describe('others', () => {
  it('a norm with a negative epsilon is ONNX Runtime’s', async () => {
    const form: Form = {
      op: 'LayerNormalization',
      operands: [f(3, 5), f(5)],
      attributes: { epsilon: { float: -0.0625 } },
    };
    const reason = 'LayerNormalization: epsilon -0.0625';
    expect(await compared(form)).toEqual([reason, reason]);
  });

  it.each<readonly [number, Form]>([
    [9, { op: 'RotaryEmbedding', operands: [f(1, 2, 3, 9), f(1, 3, 4), f(1, 3, 4)] }],
    [
      5,
      {
        op: 'RotaryEmbedding',
        operands: [f(1, 2, 3, 8), f(1, 3, 2), f(1, 3, 2)],
        attributes: ints({ rotary_embedding_dim: 5 }),
      },
    ],
  ])('heads that turn %i elements are left alone: %o', async (count, form) => {
    // What ONNX Runtime makes of them is not compared: its last element has no partner.
    const msd = await session(modelOf(form, tensorsOf(form), false), { name: 'msd', claim: 'all' });
    expect(reportOf(msd)!.nodes[0]).toMatchObject({
      where: 'ort',
      reason: `RotaryEmbedding: ${count} elements of a head are turned`,
    });
    await msd.release();
  });

  it('heads that lie apart are counted where they lie, not by num_heads', async () => {
    const form: Form = {
      op: 'RotaryEmbedding',
      operands: [f(1, 4, 3, 8), f(1, 3, 4), f(1, 3, 4)],
      attributes: ints({ num_heads: 2 }),
    };
    expect(await compared(form)).toEqual(['msd', 'msd']);
  });

  it('heads that turn out to have an odd size are an error that names the node', async () => {
    const feedsOf = (size: number): Record<string, ort.Tensor> => {
      const half = size >> 1;
      const tensors = tensorsOf({ op: '', operands: [f(1, 2, 3, size), f(1, 3, half), f(1, 3, half)] });
      return Object.fromEntries(['x', 'cos', 'sin'].map((name, i) => [name, tensors[i]!]));
    };
    const bytes = writeModel({
      opsets: { '': 23 },
      graph: {
        nodes: [{ opType: 'RotaryEmbedding', inputs: ['x', 'cos', 'sin'], outputs: ['y'] }],
        initializers: [],
        inputs: [
          { name: 'x', dtype: 'float32', dims: [1, 2, 'rows', 'size'] },
          ...['cos', 'sin'].map((name) => ({ name, dtype: 'float32' as const, dims: [1, 'rows', 'half'] })),
        ],
        outputs: [{ name: 'y', dtype: 'float32' }],
      },
    });
    const [plain, msd] = [await session(bytes, 'wasm'), await session(bytes, { name: 'msd', claim: 'all' })];
    expect(reportOf(msd)!.nodes[0]!.where).toBe('msd');
    await expect(msd.run(feedsOf(9))).rejects.toThrow(
      "run: node 'y' (RotaryEmbedding): x, expected heads of an even size, got 9 elements each.",
    );
    const [expected, got] = [await plain.run(feedsOf(8)), await msd.run(feedsOf(8))];
    expect(relativeMost(floats(got.y), floats(expected.y))).toBeLessThan(CLOSE);
    for (const each of [plain, msd]) await each.release();
  });

  it.each(['AveragePool', 'MaxPool'])('%s of dilated windows and pads that follow is left alone', async (op) => {
    for (const pads of ['SAME_UPPER', 'SAME_LOWER']) {
      const windows = { kernel_shape: { ints: [2, 2] }, dilations: { ints: [1, 2] }, auto_pad: { string: pads } };
      const reason = `${op}: auto_pad and wide strides or dilations`;
      expect(await compared({ op, operands: [f(1, 2, 4, 4)], attributes: windows })).toEqual([reason, reason]);
    }
  });

  it('an operand that has to be there and is left out is ONNX Runtime’s to refuse', async () => {
    const bytes = writeModel({
      opsets: { '': 21 },
      graph: {
        nodes: [{ opType: 'Slice', domain: '', inputs: ['x', '', 'ends'], outputs: ['y'], attributes: {} }],
        initializers: [{ name: 'ends', dtype: 'int64', dims: [1], data: BigInt64Array.of(1n) }],
        inputs: [{ name: 'x', dtype: 'float32', dims: [2, 3] }],
        outputs: [{ name: 'y', dtype: 'float32' }],
      },
    });
    await expect(session(bytes, { name: 'msd', claim: 'all' })).rejects.toThrow('marked single');
  });
});
