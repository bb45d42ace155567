/**
 * A decoder's layer as q4f16 exports have it: float16 table, scales, norms, angles, keys and values, logits as float32. Compared with
 * the same weights in float32: what ONNX Runtime rounds between its nodes, MSD does not.
 */
import { floatsOfFp16, fp16Bits, type HalfArray } from '@msd/core';
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import { type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { CLOSE, relativeL2 } from './close.ts';
import { ARRAYS } from './conformance.ts';
import { gaussian, makeMatrix, random } from './models.ts';
import { ort, session } from './ort.ts';

const [H, HEADS, KV, SIZE, VOCABULARY, POSITIONS] = [64, 4, 2, 16, 96, 128];
const matrices = [
  makeMatrix({ name: 'qkv', N: (HEADS + 2 * KV) * SIZE, K: H, seed: 2, bias: true }),
  makeMatrix({ name: 'o', N: H, K: HEADS * SIZE, seed: 3, zeroPoints: true }),
  makeMatrix({ name: 'head', N: VOCABULARY, K: H, seed: 4, bits: 8, blockSize: 64 }),
] as const;

const rounded = (floats: Float32Array): Float32Array => floatsOfFp16(fp16Bits(floats) as HalfArray);

/** Everything float is float16, or its values as float32. */
function decoder(isHalf: boolean): Uint8Array {
  const dtype = isHalf ? 'float16' : 'float32';
  const next = random(9);
  const float = (name: string, dims: number[], data: Float32Array): TensorSpec => ({
    ...{ name, dtype, dims },
    data: isHalf ? fp16Bits(data) : rounded(data),
  });
  const angles = (fn: (x: number) => number) =>
    Float32Array.from({ length: POSITIONS * (SIZE / 2) }, (_, i) => fn(Math.floor(i / 8) / 50 ** ((i % 8) / 8)));
  const ones = () => gaussian(next, H).map((x) => 1 + x / 8);
  const initializers = [
    float('table', [VOCABULARY, H], gaussian(next, VOCABULARY * H)),
    float('norm', [H], ones()),
    float('last', [H], ones()),
    float('cos', [POSITIONS, SIZE / 2], angles(Math.cos)),
    float('sin', [POSITIONS, SIZE / 2], angles(Math.sin)),
    float(
      'gate',
      [H, H],
      gaussian(next, H * H).map((x) => x / 8),
    ),
    ...matrices.flatMap(({ initializers }) =>
      initializers.map((each) =>
        each.dtype === 'float32' ? float(each.name, [...each.dims], each.data as Float32Array) : each,
      ),
    ),
  ];
  const ms = (node: NodeSpec): NodeSpec => ({ ...node, domain: 'com.microsoft' });
  const [qkv, o, head] = matrices;
  const cache = (name: string) => ({ name, dtype, dims: [1, KV, 'past', SIZE] }) as const;
  return writeModel({
    graph: {
      nodes: [
        { opType: 'Gather', inputs: ['table', 'ids'], outputs: ['x'] },
        { opType: 'SimplifiedLayerNormalization', inputs: ['x', 'norm'], outputs: ['n'] },
        qkv.node('n', 'p'),
        ms({
          opType: 'GroupQueryAttention',
          inputs: ['p', '', '', 'past_key', 'past_value', 'lengths', 'total', 'cos', 'sin'],
          outputs: ['a', 'present_key', 'present_value'],
          attributes: { num_heads: { int: HEADS }, kv_num_heads: { int: KV }, do_rotary: { int: 1 } },
        }),
        o.node('a', 'b'),
        ms({ opType: 'SkipSimplifiedLayerNormalization', inputs: ['x', 'b', 'last'], outputs: ['c', '', '', 'd'] }),
        // A product of the file that nobody quantized.
        { opType: 'MatMul', inputs: ['c', 'gate'], outputs: ['g'] },
        { opType: 'Sigmoid', inputs: ['g'], outputs: ['s'] },
        { opType: 'Mul', inputs: ['g', 's'], outputs: ['t'] },
        { opType: 'Add', inputs: ['t', 'd'], outputs: ['hidden'] },
        head.node('hidden', 'l'),
        { opType: 'Cast', inputs: ['l'], outputs: ['logits'], attributes: { to: { int: 1 } } },
      ],
      initializers,
      inputs: [
        { name: 'ids', dtype: 'int64', dims: [1, 'rows'] },
        { name: 'lengths', dtype: 'int32', dims: [1] },
        { name: 'total', dtype: 'int32', dims: [] },
        cache('past_key'),
        cache('past_value'),
      ],
      outputs: [
        { name: 'logits', dtype: 'float32' },
        { name: 'hidden', dtype },
        { name: 'present_key', dtype },
        { name: 'present_value', dtype },
      ],
    },
  });
}

type Outputs = Record<string, ort.Tensor>;

const valuesOf = (tensor: ort.Tensor): Float32Array =>
  tensor.type === 'float16' ? floatsOfFp16(tensor.data as unknown as HalfArray) : (tensor.data as Float32Array);

const distance = (a: ort.Tensor, b: ort.Tensor): number => relativeL2(valuesOf(a), valuesOf(b));

function step(type: 'float16' | 'float32', ids: readonly number[], total: number, before?: Outputs) {
  const empty = () => new ort.Tensor(type, new ARRAYS[type]!(new ArrayBuffer(0)) as never, [1, KV, 0, SIZE]);
  return {
    ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
    lengths: new ort.Tensor('int32', Int32Array.of(total - 1), [1]),
    total: new ort.Tensor('int32', Int32Array.of(total), []),
    past_key: before?.present_key ?? empty(),
    past_value: before?.present_value ?? empty(),
  };
}

describe('a q4f16 decoder', () => {
  const prompt = Array.from({ length: 33 }, (_, i) => (i * 7) % VOCABULARY);

  it('runs in MSD alone, nearer to the float model than ONNX Runtime is', async () => {
    const [msd, plain, exact] = await Promise.all([
      session(decoder(true)),
      session(decoder(true), 'wasm'),
      session(decoder(false), 'wasm'),
    ]);
    const report = reportOf(msd)!;
    expect(report.whole).toBeUndefined();
    expect(report.foreignRunsPerCall).toBe(0);
    let [a, b, c]: (Outputs | undefined)[] = [];
    let total = 0;
    const copied: number[] = [];
    for (const ids of [prompt, [5], [6], [7], [8, 9], [10]]) {
      total += ids.length;
      a = (await msd.run(step('float16', ids, total, a))) as Outputs;
      b = (await plain.run(step('float16', ids, total, b))) as Outputs;
      c = (await exact.run(step('float32', ids, total, c))) as Outputs;
      expect(distance(a.logits!, c.logits!)).toBeLessThan(CLOSE);
      expect(distance(a.logits!, c.logits!)).toBeLessThan(distance(b.logits!, c.logits!));
      // Rounded once, by half a step at most.
      expect(distance(a.hidden!, c.hidden!)).toBeLessThan(CLOSE + 2 ** -11);
      for (const [name, tensor] of Object.entries(b)) {
        expect([name, a[name]!.type, a[name]!.dims]).toEqual([name, tensor.type, tensor.dims]);
      }
      if (ids.length === 1) copied.push(reportOf(msd)!.bytesCopiedPerCall.intoMsd);
    }
    // However long the past is, a token copies the same few bytes.
    expect(new Set(copied).size).toBe(1);
    expect(copied[0]).toBeLessThan(1024);
    for (const name of ['present_key', 'present_value']) {
      expect(a![name]!.data.constructor).toBe(b![name]!.data.constructor);
      expect(distance(a![name]!, c![name]!)).toBeLessThan(CLOSE + 2 ** -11);
    }
    await Promise.all([msd, plain, exact].map((each) => each.release()));
  });

  it('goes on from keys and values of another engine, and as arrays', async () => {
    const [msd, plain] = await Promise.all([session(decoder(true)), session(decoder(true), 'wasm')]);
    const first = (await plain.run(step('float16', prompt, prompt.length))) as Outputs;
    const want = await plain.run(step('float16', [5], prompt.length + 1, first));
    const got = await msd.run(step('float16', [5], prompt.length + 1, first));
    expect(distance(got.logits!, want.logits!)).toBeLessThan(2e-3);
    const kept = (await msd.run(step('float16', prompt, prompt.length))) as Outputs;
    const read = Object.fromEntries(
      ['present_key', 'present_value'].map((name) => {
        const { data, dims } = kept[name]!;
        return [name, new ort.Tensor('float16', data.slice() as never, dims) as ort.Tensor];
      }),
    );
    const again = await msd.run(step('float16', [5], prompt.length + 1, read));
    const straight = await msd.run(step('float16', [5], prompt.length + 1, kept));
    expect(distance(again.logits!, straight.logits!)).toBeLessThan(2e-3);
    await Promise.all([msd, plain].map((each) => each.release()));
  });
});
