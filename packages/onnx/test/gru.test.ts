/** GRU with integer weights beside plain onnxruntime-web, which computes it in floats; recurrent layers that are quantized at load. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { AttributeSpec, GraphSpec, NodeSpec, TensorSpec } from '../src/write/index.ts';
import { CLOSE, relativeL2, relativeMost } from './close.ts';
import { gaussian, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

interface LayerOptions {
  readonly opType?: 'GRU' | 'LSTM';
  readonly after?: boolean;
  readonly direction?: 'forward' | 'reverse' | 'bidirectional';
  readonly K?: number;
  readonly hidden?: number;
  /** As the file has them: behind a DequantizeLinear, or floats. */
  readonly weights?: 'int8' | 'uint8' | 'float32';
  readonly perRow?: boolean;
  readonly bias?: boolean;
  readonly state?: boolean;
  readonly lengths?: boolean;
  readonly outputs?: readonly string[];
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
}

function layer(options: LayerOptions = {}): Uint8Array {
  const { opType = 'GRU', after = false, direction = 'forward', K = 24, hidden = 20, weights = 'int8' } = options;
  const { perRow = false, bias = true, state = false, lengths = false, attributes = {} } = options;
  const { outputs = opType === 'GRU' ? ['y', 'h'] : ['y', 'h', 'c'] } = options;
  const D = direction === 'bidirectional' ? 2 : 1;
  const G = (opType === 'GRU' ? 3 : 4) * hidden;
  const next = random(K + hidden + D);
  const nodes: NodeSpec[] = [];
  const initializers: TensorSpec[] = [];
  const matrix = (name: string, width: number): string => {
    const dims = [D, G, width];
    const size = D * G * width;
    if (weights === 'float32') {
      const data = gaussian(next, size).map((value) => value / Math.sqrt(width));
      initializers.push({ name, dtype: 'float32', dims, data });
      return name;
    }
    const zero = weights === 'uint8' ? 133 : 0;
    const count = perRow ? G : 1;
    const data = new (weights === 'int8' ? Int8Array : Uint8Array)(size).map(() => next() * 255);
    const scales = Float32Array.from({ length: count }, () => (0.5 + next()) / 64 / Math.sqrt(width));
    const zeros = new (weights === 'int8' ? Int8Array : Uint8Array)(count).fill(zero);
    initializers.push(
      { name, dtype: weights, dims, data },
      { name: `${name}s`, dtype: 'float32', dims: perRow ? [G] : [], data: scales },
      { name: `${name}z`, dtype: weights, dims: perRow ? [G] : [], data: zeros },
    );
    nodes.push({
      opType: 'DequantizeLinear',
      name: `floats of ${name}`,
      inputs: [name, `${name}s`, `${name}z`],
      outputs: [`${name}f`],
      attributes: { axis: { int: 1 } },
    });
    return `${name}f`;
  };
  const [w, r] = [matrix('W', K), matrix('R', hidden)];
  if (bias) initializers.push({ name: 'B', dtype: 'float32', dims: [D, 2 * G], data: gaussian(next, D * 2 * G) });
  nodes.push({
    opType,
    name: 'layer',
    inputs: ['x', w, r, bias ? 'B' : '', lengths ? 'lengths' : '', state ? 'h0' : ''],
    outputs: (opType === 'GRU' ? ['y', 'h'] : ['y', 'h', 'c']).map((name) => (outputs.includes(name) ? name : '')),
    attributes: {
      hidden_size: { int: hidden },
      direction: { string: direction },
      ...(opType === 'GRU' && { linear_before_reset: { int: after ? 1 : 0 } }),
      ...attributes,
    },
  });
  const graph: GraphSpec = {
    nodes,
    initializers,
    inputs: [
      { name: 'x', dtype: 'float32', dims: ['positions', 'batch', K] },
      ...(state ? [{ name: 'h0', dtype: 'float32' as const, dims: [D, 'batch', hidden] }] : []),
      ...(lengths ? [{ name: 'lengths', dtype: 'int32' as const, dims: ['batch'] }] : []),
    ],
    outputs: outputs.map((name) => ({ name, dtype: 'float32' as const })),
  };
  return model(graph);
}

type Sizes = readonly (readonly [S: number, B: number])[];

function feedsOf(options: LayerOptions, S: number, B: number): Record<string, ort.Tensor> {
  const { K = 24, hidden = 20, direction } = options;
  const D = direction === 'bidirectional' ? 2 : 1;
  const next = random(S + B);
  const feeds: Record<string, ort.Tensor> = { x: tensor(gaussian(next, S * B * K), [S, B, K]) };
  if (options.state) feeds.h0 = tensor(gaussian(next, D * B * hidden), [D, B, hidden]);
  const lengths = Int32Array.from({ length: B }, (_, b) => Math.max(0, S - b));
  if (options.lengths) feeds.lengths = new ort.Tensor('int32', lengths, [B]);
  return feeds;
}

const claimed = { name: 'msd', claim: 'all' } as const;

async function compare(options: LayerOptions, sizes: Sizes): Promise<void> {
  const bytes = layer(options);
  const msd = await session(bytes, claimed);
  const plain = await session(bytes, 'wasm');
  expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
  for (const [S, B] of [...sizes, ...sizes.toReversed()]) {
    const feeds = feedsOf(options, S, B);
    const [got, expected] = [await msd.run(feeds), await plain.run(feeds)];
    for (const name of plain.outputNames) {
      expect(got[name]!.dims, name).toEqual(expected[name]!.dims);
      expect(relativeMost(floats(got[name]), floats(expected[name])), `${name} of [${S}, ${B}]`).toBeLessThan(CLOSE);
    }
  }
  await msd.release();
  await plain.release();
}

const SIZES: Sizes = [
  [1, 1],
  [5, 1],
  [3, 3],
];

describe.each([false, true])('GRU with integers, reset after the product: %s', (after) => {
  it.each(['forward', 'reverse', 'bidirectional'] as const)('%s', async (direction) => {
    await compare({ after, direction }, SIZES);
  });

  it('with the state of a run before', async () => {
    await compare({ after, direction: 'bidirectional', state: true }, SIZES);
  });

  it.each([true, false])('uint8 with zero points, a scale for each row: %s', async (perRow) => {
    await compare({ after, weights: 'uint8', perRow, direction: 'bidirectional' }, SIZES);
  });

  it('without a bias, odd sizes', async () => {
    await compare({ after, perRow: true, bias: false, K: 7, hidden: 3 }, SIZES);
  });

  it.each([true, false])('sequences of several lengths, a state: %s', async (state) => {
    await compare({ after, direction: 'bidirectional', state, lengths: true }, [
      [1, 1],
      [4, 3],
      [2, 5],
    ]);
  });

  it('a batch of nothing and no positions', async () => {
    const options = { after, direction: 'bidirectional', state: true } as const;
    const msd = await session(layer(options), claimed);
    for (const [S, B] of [
      [3, 0],
      [0, 2],
    ] as const) {
      const feeds = feedsOf(options, S, B);
      const { y, h } = await msd.run(feeds);
      expect(y!.dims).toEqual([S, 2, B, 20]);
      expect([h!.dims, h!.data]).toEqual([feeds.h0!.dims, feeds.h0!.data]);
    }
    await msd.release();
  });

  it('longer than what is multiplied at a time', async () => {
    await compare({ after, direction: 'bidirectional', K: 5, hidden: 4 }, [
      [128, 1],
      [300, 2],
      [129, 1],
    ]);
  });

  it.each([['y'], ['h']])('asked for %s alone', async (...outputs) => {
    await compare({ after, outputs }, [[4, 2]]);
  });

  it('activations that are named, and are the usual ones', async () => {
    const activations = { strings: ['Sigmoid', 'Tanh', 'sigmoid', 'tanh'] };
    await compare({ after, direction: 'bidirectional', attributes: { activations } }, [[2, 1]]);
  });

  it('what is not finite stays in its sequence', async () => {
    const msd = await session(layer({ after }), claimed);
    const feeds = feedsOf({}, 4, 2);
    const clean = floats((await msd.run(feeds)).y).slice();
    floats(feeds.x)[24 * 3] = Number.NaN; // position 1, sequence 1
    const got = floats((await msd.run(feeds)).y);
    for (let t = 0; t < 4; t++) {
      const at = t * 2 * 20;
      expect(got.subarray(at, at + 20)).toEqual(clean.subarray(at, at + 20));
      expect(Number.isNaN(got[at + 20]!)).toBe(t > 0);
    }
    await msd.release();
  });

  it.each<[string, LayerOptions, string]>([
    ['a clip', { attributes: { clip: { float: 2 } } }, "attribute 'clip' is not known"],
    ['other activations', { attributes: { activations: { strings: ['Relu', 'Tanh'] } } }, 'activations Relu'],
    ['batches first', { attributes: { layout: { int: 1 } } }, 'layout 1'],
    ['floats that nobody quantizes', { weights: 'float32' }, 'weights are floats'],
  ])('not with %s', async (what, options, reason) => {
    const bytes = layer({ after, ...options });
    // ONNX Runtime does not run batches first either.
    const msd = await session(bytes, claimed).catch((error: Error) => error.message);
    if (typeof msd === 'string') {
      expect(what).toBe('batches first');
      return;
    }
    const node = reportOf(msd)!.nodes.find(({ name }) => name === 'layer')!;
    expect(node.where).toBe('ort');
    expect(node.reason).toContain(reason);
    await msd.release();
  });
});

describe('recurrent layers of floats', () => {
  it.each([
    ['GRU', 'int8', 0.02],
    ['LSTM', 'int8', 0.02],
    ['GRU', 'int4', 0.25],
    ['LSTM', 'int4', 0.25],
  ] as const)('%s becomes %s if the session is told so', async (opType, quantize, most) => {
    const options = { opType, weights: 'float32', direction: 'bidirectional', K: 64, hidden: 64, after: true } as const;
    const bytes = layer(options);
    const msd = await session(bytes, { name: 'msd', quantize });
    const plain = await session(bytes, 'wasm');
    const feeds = feedsOf(options, 6, 2);
    const [{ y }, { y: expected }] = [await msd.run(feeds), await plain.run(feeds)];
    const [node] = reportOf(msd)!.nodes;
    expect(node).toMatchObject({ where: 'msd', opType, quantized: { format: quantize } });
    // Gaussian weights lose 0.7 % and 8.4 %; states go through six positions.
    expect(relativeL2(floats(y), floats(expected))).toBeLessThan(most);
    await msd.release();
    await plain.release();
  });

  it('stays floats if only one of its tensors is named', async () => {
    const msd = await session(layer({ weights: 'float32' }), { ...claimed, quantize: { W: 'int8' } });
    expect(reportOf(msd)!.nodes[0]).toMatchObject({ where: 'ort', reason: 'GRU: weights are floats' });
    await msd.release();
  });
});
