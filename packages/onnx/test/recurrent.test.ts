/** Recurrent layers against float64, onnxruntime-web alongside. */

import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import type { AttributeSpec, GraphSpec, NodeSpec, TensorSpec } from '../src/write/index.ts';
import { gaussian, model, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

interface LayerOptions {
  /** DynamicQuantizeLSTM; else LSTM behind DequantizeLinear. */
  readonly isDynamic?: boolean;
  readonly direction?: 'forward' | 'reverse' | 'bidirectional';
  readonly K?: number;
  readonly hidden?: number;
  readonly dtype?: 'int8' | 'uint8';
  /** One scale for each row. */
  readonly perRow?: boolean;
  readonly bias?: boolean;
  readonly states?: boolean;
  readonly outputs?: readonly string[];
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
  /** Instead of '' and what it says, by place of the operand. */
  readonly inputs?: Readonly<Record<number, string>>;
}

type State = readonly [h: Float64Array, c: Float64Array];

interface Layer {
  readonly bytes: Uint8Array;
  readonly D: number;
  readonly hidden: number;
  readonly K: number;
  /** y [S, D, B, hidden], and the last h and c [D, B, hidden]. */
  exact(
    x: Float32Array,
    S: number,
    B: number,
    states?: readonly Float32Array[],
    lengths?: Int32Array,
  ): Record<string, Float64Array>;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

function layer(options: LayerOptions = {}): Layer {
  const { isDynamic = true, direction = 'forward', K = 24, hidden = 20, dtype = 'int8', perRow = false } = options;
  const { bias = true, states = false, outputs = ['y', 'h', 'c'], attributes = {} } = options;
  const D = direction === 'bidirectional' ? 2 : 1;
  const G = 4 * hidden;
  const next = random(K + hidden + D);
  const part = (name: string, width: number) => {
    const zero = dtype === 'uint8' ? 128 + (perRow ? 0 : 5) : 0;
    const codes = Uint8Array.from({ length: D * G * width }, () => next() * 255);
    const scales = Float32Array.from({ length: perRow ? D * G : D }, () => (0.5 + next()) / 64 / Math.sqrt(width));
    const value = (d: number, n: number, k: number): number => {
      const code = codes[(d * G + n) * width + k]!;
      const scale = scales[perRow ? (isDynamic ? d * G + n : n) : isDynamic ? d : 0]!;
      return scale * ((dtype === 'int8' ? (code << 24) >> 24 : code) - zero);
    };
    // [D, width, G] as DynamicQuantizeLSTM has them
    const turned = codes.map((_, i) => {
      const [d, rest] = [Math.floor(i / (G * width)), i % (G * width)];
      return codes[(d * G + (rest % G)) * width + Math.floor(rest / G)]!;
    });
    const data = dtype === 'int8' ? new Int8Array((isDynamic ? turned : codes).buffer) : isDynamic ? turned : codes;
    const count = isDynamic ? scales.length : perRow ? G : 1;
    const dims = perRow ? (isDynamic ? [D, G] : [G]) : isDynamic ? [D] : [];
    const zeros = new (dtype === 'int8' ? Int8Array : Uint8Array)(count).fill(zero);
    const tensors: TensorSpec[] = [
      { name, dtype, dims: isDynamic ? [D, width, G] : [D, G, width], data },
      { name: `${name}s`, dtype: 'float32', dims, data: scales.slice(0, count) },
      { name: `${name}z`, dtype, dims, data: zeros },
    ];
    const nodes: NodeSpec[] = isDynamic
      ? []
      : [
          {
            opType: 'DequantizeLinear',
            name: `floats of ${name}`,
            inputs: [name, `${name}s`, `${name}z`],
            outputs: [`${name}f`],
            attributes: { axis: { int: 1 } },
          },
        ];
    return { tensors, nodes, value };
  };
  const [w, r] = [part('W', K), part('R', hidden)];
  const biases = bias ? gaussian(next, D * 2 * G) : undefined;
  const inputs = [
    'x',
    isDynamic ? 'W' : 'Wf',
    isDynamic ? 'R' : 'Rf',
    bias ? 'B' : '',
    '',
    ...(states ? ['h0', 'c0'] : ['', '']),
    '',
    ...(isDynamic ? ['Ws', 'Wz', 'Rs', 'Rz'] : []),
  ];
  for (const [place, name] of Object.entries(options.inputs ?? {})) inputs[Number(place)] = name;
  const graph: GraphSpec = {
    nodes: [
      ...w.nodes,
      ...r.nodes,
      {
        opType: isDynamic ? 'DynamicQuantizeLSTM' : 'LSTM',
        domain: isDynamic ? 'com.microsoft' : '',
        name: 'layer',
        inputs,
        outputs: ['y', 'h', 'c'].map((name) => (outputs.includes(name) ? name : '')),
        attributes: { hidden_size: { int: hidden }, direction: { string: direction }, ...attributes },
      },
    ],
    initializers: [
      ...w.tensors,
      ...r.tensors,
      ...(biases ? [{ name: 'B', dtype: 'float32', dims: [D, 2 * G], data: biases } as const] : []),
    ],
    inputs: [
      { name: 'x', dtype: 'float32', dims: ['positions', 'batch', K] },
      ...(states ? ['h0', 'c0'].map((name) => ({ name, dtype: 'float32' as const, dims: [D, 'batch', hidden] })) : []),
      ...(options.inputs?.[4] === 'lengths' ? [{ name: 'lengths', dtype: 'int32' as const, dims: ['batch'] }] : []),
    ],
    outputs: outputs.map((name) => ({ name, dtype: 'float32' as const })),
  };
  const exact: Layer['exact'] = (x, S, B, [h0, c0] = [], lengths = new Int32Array(B).fill(S)) => {
    const y = new Float64Array(S * D * B * hidden);
    const last: State = [new Float64Array(D * B * hidden), new Float64Array(D * B * hidden)];
    for (let d = 0; d < D; d++)
      for (let b = 0; b < B; b++) {
        const from = (d * B + b) * hidden;
        const state = (given?: Float32Array) =>
          given ? Float64Array.from(given.subarray(from, from + hidden)) : new Float64Array(hidden);
        let [h, c] = [state(h0), state(c0)];
        const isReversed = direction === 'reverse' || d === 1;
        for (let i = 0; i < S; i++) {
          const t = isReversed ? S - 1 - i : i;
          if (t >= lengths[b]!) continue;
          const gates = Float64Array.from({ length: G }, (_, n) => {
            let sum = biases ? biases[2 * d * G + n]! + biases[(2 * d + 1) * G + n]! : 0;
            for (let k = 0; k < K; k++) sum += x[(t * B + b) * K + k]! * w.value(d, n, k);
            for (let k = 0; k < hidden; k++) sum += h[k]! * r.value(d, n, k);
            return sum;
          });
          const gate = (which: number, j: number) => gates[which * hidden + j]!;
          c = c.map((each, j) => sigmoid(gate(2, j)) * each + sigmoid(gate(0, j)) * Math.tanh(gate(3, j)));
          h = c.map((each, j) => sigmoid(gate(1, j)) * Math.tanh(each));
          y.set(h, ((t * D + d) * B + b) * hidden);
        }
        // Of a sequence of nothing ONNX Runtime tells no state.
        if (lengths[b] === 0) continue;
        last[0].set(h, from);
        last[1].set(c, from);
      }
    return { y, h: last[0], c: last[1] };
  };
  return { bytes: model(graph), D, hidden, K, exact };
}

/** Two components are good to half a step of max|x|/32258 in each product, and a state goes through a few. */
const CLOSE = 5e-4;

function distance(got: Float32Array, expected: Float64Array): number {
  let [error, most] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    error = Math.max(error, Math.abs(got[i]! - expected[i]!));
    most = Math.max(most, Math.abs(expected[i]!));
  }
  return most === 0 ? error : error / most;
}

const claimed = { name: 'msd', claim: 'all' } as const;

async function compare(options: LayerOptions, sizes: readonly (readonly [S: number, B: number])[]): Promise<void> {
  const own = layer(options);
  const msd = await session(own.bytes, claimed);
  const plain = await session(own.bytes, 'wasm');
  expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
  for (const [S, B] of [...sizes, ...sizes.toReversed()]) {
    const next = random(S + B);
    const x = gaussian(next, S * B * own.K);
    const states = options.states ? [0, 1].map(() => gaussian(next, own.D * B * own.hidden)) : [];
    const feeds: Record<string, ort.Tensor> = { x: tensor(x, [S, B, own.K]) };
    for (const [i, name] of options.states ? ['h0', 'c0'].entries() : [])
      feeds[name] = tensor(states[i]!, [own.D, B, own.hidden]);
    const lengths = Int32Array.from({ length: B }, (_, b) => Math.max(options.isDynamic === false ? 0 : 1, S - b));
    const isCut = options.inputs?.[4] === 'lengths';
    if (isCut) feeds.lengths = new ort.Tensor('int32', lengths, [B]);
    const exact = own.exact(x, S, B, states, isCut ? lengths : undefined);
    const got = await msd.run(feeds);
    const expected = await plain.run(feeds);
    for (const name of msd.outputNames) {
      expect(got[name]!.dims, name).toEqual(expected[name]!.dims);
      const error = distance(floats(got[name]), exact[name]!);
      expect(error, `${name} of [${S}, ${B}]`).toBeLessThan(CLOSE);
      if (options.isDynamic === false)
        expect(distance(floats(expected[name]), exact[name]!), `ONNX Runtime: ${name}`).toBeLessThan(CLOSE);
      else if (exact[name]!.length > 0)
        expect(error, name).toBeLessThan(distance(floats(expected[name]), exact[name]!) / 10);
    }
  }
  await msd.release();
  await plain.release();
}

const SIZES = [
  [1, 1],
  [5, 1],
  [3, 3],
] as const;

describe.each([true, false])('LSTM with integers, DynamicQuantizeLSTM: %s', (isDynamic) => {
  it.each(['forward', 'reverse', 'bidirectional'] as const)('%s', async (direction) => {
    await compare({ isDynamic, direction }, SIZES);
  });

  it('with the state of a run before', async () => {
    await compare({ isDynamic, direction: 'bidirectional', states: true }, SIZES);
  });

  it.each([true, false])('uint8, a scale for each row: %s', async (perRow) => {
    await compare({ isDynamic, dtype: 'uint8', perRow, direction: 'bidirectional' }, SIZES);
  });

  it('int8 with a scale for each row, without a bias, odd sizes', async () => {
    await compare({ isDynamic, perRow: true, bias: false, K: 7, hidden: 3 }, SIZES);
  });

  it.each([true, false])('sequences of several lengths, states: %s', async (states) => {
    await compare({ isDynamic, direction: 'bidirectional', states, inputs: { 4: 'lengths' } }, [
      [1, 1],
      [4, 3],
      [2, 5],
    ]);
  });

  it('a batch of nothing and no positions, at which ONNX Runtime aborts', async () => {
    const own = layer({ isDynamic, direction: 'bidirectional', states: true });
    const msd = await session(own.bytes, claimed);
    for (const [S, B] of [
      [3, 0],
      [0, 2],
    ] as const) {
      const state = gaussian(random(1), 2 * B * own.hidden);
      const given = tensor(state, [2, B, own.hidden]);
      const { y, h, c } = await msd.run({ x: tensor(new Float32Array(0), [S, B, own.K]), h0: given, c0: given });
      expect(y!.dims).toEqual([S, 2, B, own.hidden]);
      for (const each of [h, c]) expect([each!.dims, each!.data]).toEqual([given.dims, state]);
    }
    await msd.release();
  });

  it('lengths that cannot be are refused, as by ONNX Runtime', async () => {
    const own = layer({ isDynamic, inputs: { 4: 'lengths' } });
    const feeds = { x: tensor(new Float32Array(2 * own.K), [2, 1, own.K]) };
    for (const provider of [claimed, 'wasm'] as const) {
      const each = await session(own.bytes, provider);
      for (const length of [-1, 3])
        await expect(each.run({ ...feeds, lengths: new ort.Tensor('int32', [length], [1]) })).rejects.toThrow(/seq/i);
      await each.release();
    }
  });

  it('longer than what is multiplied at a time', async () => {
    const sizes = [[128, 1], [300, 2], [129, 1]] as const; // biome-ignore format: one line
    await compare({ isDynamic, direction: 'bidirectional', K: 5, hidden: 4 }, sizes);
  });

  it.each([['y'], ['h'], ['c'], ['y', 'c']])('asked for %s alone', async (...outputs) => {
    await compare({ isDynamic, outputs }, [[4, 2]]);
  });

  it('activations that are named, and are the usual ones', async () => {
    const activations = { strings: ['Sigmoid', 'Tanh', 'Tanh', 'sigmoid', 'tanh', 'tanh'] };
    await compare({ isDynamic, direction: 'bidirectional', attributes: { activations } }, [[2, 1]]);
  });

  it('what is not finite stays in its sequence', async () => {
    const own = layer({ isDynamic });
    const msd = await session(own.bytes, claimed);
    const x = gaussian(random(3), 4 * 2 * own.K);
    const exact = own.exact(x, 4, 2);
    x[own.K * 3] = Number.NaN; // position 1, sequence 1
    const { y } = await msd.run({ x: tensor(x, [4, 2, own.K]) });
    const got = floats(y);
    for (let t = 0; t < 4; t++) {
      const at = t * 2 * own.hidden;
      expect(distance(got.subarray(at, at + own.hidden), exact.y!.subarray(at, at + own.hidden))).toBeLessThan(CLOSE);
      expect(Number.isNaN(got[at + own.hidden]!)).toBe(t > 0);
    }
    await msd.release();
  });

  it.each<[string, LayerOptions, string]>([
    ['a clip', { attributes: { clip: { float: 2 } } }, "attribute 'clip' is not known"],
    ['other activations', { attributes: { activations: { strings: ['Relu', 'Tanh', 'Tanh'] } } }, 'activations Relu'],
    ['one gate for two', { attributes: { input_forget: { int: 1 } } }, 'input and forget gate are one'],
  ])('not with %s', async (_, options, reason) => {
    const own = layer({ isDynamic, ...options });
    const msd = await session(own.bytes, claimed);
    const node = reportOf(msd)!.nodes.find(({ name }) => name === 'layer')!;
    expect(node.where).toBe('ort');
    expect(node.reason).toContain(reason);
    await msd.release();
  });
});

describe('what becomes of them', () => {
  it('taken by default, where it pays; left where 8-bit activations are asked for', async () => {
    const { bytes } = layer({ K: 64, hidden: 64 });
    const taken = await session(bytes);
    expect(reportOf(taken)!.nodes).toMatchObject([{ where: 'msd' }]);
    await taken.release();
    const exact = await session(bytes, { name: 'msd', exact: true });
    expect(reportOf(exact)!.nodes[0]).toMatchObject({ where: 'ort' });
    expect(reportOf(exact)!.nodes[0]!.reason).toContain("'exact'");
    await exact.release();
  });

  it('floats are not taken', async () => {
    const dims = { W: [1, 8, 3], R: [1, 8, 2] };
    const initializers = Object.entries(dims).map(([name, of]): TensorSpec => {
      const data = gaussian(random(of[2]!), of.reduce((product, dim) => product * dim, 1)); // biome-ignore format: one line
      return { name, dtype: 'float32', dims: of, data };
    });
    const bytes = model({
      nodes: [{ opType: 'LSTM', inputs: ['x', 'W', 'R'], outputs: ['y'], attributes: { hidden_size: { int: 2 } } }],
      initializers,
      inputs: [{ name: 'x', dtype: 'float32', dims: ['positions', 1, 3] }],
      outputs: [{ name: 'y', dtype: 'float32' }],
    });
    const msd = await session(bytes, claimed);
    expect(reportOf(msd)!.nodes[0]).toMatchObject({ where: 'ort', reason: 'LSTM: weights are floats' });
    await msd.release();
  });
});
