/** Decoders in float16 whose keys and values are float32 outside: Casts behind `past` and in front of `present`. */
import { describe, expect, it } from 'vitest';
import { halfBitsOf } from '../src/model.ts';
import { reportOf } from '../src/register.ts';
import {
  type AttributeSpec,
  type GraphSpec,
  type NodeSpec,
  type TensorSpec,
  type ValueSpec,
  writeModel,
} from '../src/write/index.ts';
import { relativeMost } from './close.ts';
import { MERGED, mergedGraph, op } from './merged.ts';
import { gaussian, random } from './models.ts';
import { floats, ort, session, tensor } from './ort.ts';

/** ONNX Runtime rounds to halves behind every node: 2^-11 each, and masks are no further than this. */
const ROUNDED = 8e-3;
const MOST_HALF = 65504;

/** All floats as halves, and a Cast at each input and output. */
function castOutside(graph: GraphSpec): GraphSpec {
  const isFloat = ({ dtype }: { readonly dtype?: unknown }): boolean => dtype === 'float32';
  const outer = [...graph.inputs, ...graph.outputs].filter(isFloat);
  const names = new Map(outer.map(({ name }) => [name, `${name} half`]));
  const nameOf = (name: string): string => names.get(name) ?? name;
  const half = <T extends ValueSpec>(value: T): T => (isFloat(value) ? { ...value, dtype: 'float16' } : value);
  const halfTensor = (each: TensorSpec): TensorSpec =>
    isFloat(each)
      ? {
          ...each,
          dtype: 'float16',
          data: halfBitsOf((each.data as Float32Array).map((x) => Math.max(-MOST_HALF, Math.min(MOST_HALF, x)))),
        }
      : each;
  const attribute = (value: AttributeSpec): AttributeSpec => {
    if ('graph' in value) return { graph: inner(value.graph as GraphSpec) };
    return 'tensor' in value ? { tensor: halfTensor(value.tensor as TensorSpec) } : value;
  };
  const node = (each: NodeSpec): NodeSpec => ({
    ...each,
    inputs: each.inputs.map(nameOf),
    outputs: each.outputs.map(nameOf),
    attributes: Object.fromEntries(
      Object.entries(each.attributes ?? {}).map(([key, value]) => [key, attribute(value)]),
    ),
  });
  const inner = (body: GraphSpec): GraphSpec => ({
    ...body,
    nodes: (body.nodes as NodeSpec[]).map(node),
    outputs: body.outputs.map((value) => half({ ...value, name: nameOf(value.name) })),
  });
  const cast = (from: string, to: string, code: number): NodeSpec => op('Cast', [from], to, { to: { int: code } });
  return {
    ...graph,
    nodes: [
      ...graph.inputs.filter(isFloat).map(({ name }) => cast(name, nameOf(name), 10)),
      ...(graph.nodes as NodeSpec[]).map(node),
      ...graph.outputs.filter(isFloat).map(({ name }) => cast(nameOf(name), name, 1)),
    ],
    initializers: (graph.initializers as TensorSpec[]).map(halfTensor),
  };
}

const { heads, size, width } = MERGED;
const FRAMES = 7;
const NAMES = ['decoder.key', 'decoder.value', 'encoder.key', 'encoder.value'];
const hidden = (batch: number, rows: number, seed: number): ort.Tensor =>
  tensor(gaussian(random(seed), batch * rows * width), [batch, rows, width]);
const flag = (value: boolean): ort.Tensor => new ort.Tensor('bool', Uint8Array.of(+value), [1]);

describe('a merged decoder in float16 with a cache in float32', () => {
  it.each([
    ['same', false, 1],
    ['empty', false, 2],
    ['empty', true, 1],
  ] as const)(
    'encoder %s, flat %s, batch %i: what a run leaves costs the next nothing',
    async (encoder, isFlat, batch) => {
      const bytes = writeModel({ graph: castOutside(mergedGraph({ encoder, isFlat })) });
      const [msd, plain] = [await session(bytes), await session(bytes, 'wasm')];
      const none = (): ort.Tensor => tensor(new Float32Array(0), [batch, heads, 0, size]);
      const pasts = [msd, plain].map(() => new Map(NAMES.map((name) => [name, none()])));
      const states = hidden(batch, FRAMES, 11);
      for (let step = 0; step < 4; step++) {
        const x = hidden(batch, step === 0 ? 4 : 1, 20 + step);
        const results: ort.InferenceSession.ReturnType[] = [];
        for (const [i, engine] of [msd, plain].entries()) {
          const past = Object.fromEntries([...pasts[i]!].map(([name, each]) => [`past.${name}`, each]));
          const made = await engine.run({ x, states, ...past, flag: flag(step > 0) });
          results.push(made);
          for (const name of NAMES)
            if (step === 0 || name.startsWith('decoder') || encoder === 'same')
              pasts[i]!.set(name, made[`present.${name}`] as ort.Tensor);
        }
        const [got, want] = results as [ort.InferenceSession.ReturnType, ort.InferenceSession.ReturnType];
        for (const name of plain.outputNames) {
          expect(got[name]!.dims, name).toEqual(want[name]!.dims);
          expect(got[name]!.type, name).toBe('float32');
        }
        expect(relativeMost(floats(got.logits as ort.Tensor), floats(want.logits as ort.Tensor))).toBeLessThan(ROUNDED);
        const { bytesCopiedPerCall, kvCache, foreignRunsPerCall } = reportOf(msd)!;
        expect(foreignRunsPerCall).toBe(0);
        expect(kvCache!.byteLength).toBeGreaterThan(0);
        // What is new; masks are less than a row.
        const rows = step === 0 ? 4 + FRAMES : 1;
        expect(bytesCopiedPerCall.intoMsd).toBeLessThan(4 * width * batch * (rows + 1));
      }
      for (const name of ['decoder.key', 'decoder.value', 'encoder.key']) {
        const [present, wanted] = pasts.map((past) => floats(past.get(name)));
        expect(relativeMost(present!, wanted!), name).toBeLessThan(ROUNDED);
      }
      await msd.release();
      await plain.release();
    },
  );

  it('a past in arrays of the caller', async () => {
    const bytes = writeModel({ graph: castOutside(mergedGraph({ encoder: 'empty' })) });
    const past = Object.fromEntries(
      NAMES.map((name, i) => {
        const rows = name.startsWith('decoder') ? 5 : FRAMES;
        return [`past.${name}`, tensor(gaussian(random(i), heads * rows * size), [1, heads, rows, size])];
      }),
    );
    const feeds = { x: hidden(1, 1, 3), states: hidden(1, FRAMES, 2), ...past, flag: flag(true) };
    const [msd, plain] = [await session(bytes), await session(bytes, 'wasm')];
    const [got, want] = [await msd.run(feeds), await plain.run(feeds)];
    for (const name of ['logits', 'present.decoder.key', 'present.decoder.value'])
      expect(relativeMost(floats(got[name] as ort.Tensor), floats(want[name] as ort.Tensor)), name).toBeLessThan(
        ROUNDED,
      );
    expect(reportOf(msd)!.foreignRunsPerCall).toBe(0);
    await msd.release();
    await plain.release();
  });
});

describe('Casts to float16 and back', () => {
  const to16 = { to: { int: 10 } };
  const to32 = { to: { int: 1 } };
  const values = [1e6, -7e4, 65519, 65520, 2049, 2051, -2049, 1.0009766, Math.PI, 0.1, 2 ** -14 * 1.0003, 3e-8, -1e-9]
    .concat([-0, Number.NaN, Number.POSITIVE_INFINITY])
    .map(Math.fround);
  const feeds = { x: tensor(Float32Array.from(values), [1, values.length]) };
  const input = { name: 'x', dtype: 'float32', dims: ['m', values.length] } as const;
  const model = (nodes: readonly NodeSpec[], dtype: ValueSpec['dtype'] = 'float32'): Uint8Array =>
    writeModel({ graph: { nodes, inputs: [input], outputs: [{ name: 'y', dtype }] } });
  const dataOf = async (bytes: Uint8Array, provider: Parameters<typeof session>[1]): Promise<unknown[]> => {
    const one = await session(bytes, provider);
    const { y } = await one.run(feeds);
    if (provider !== 'wasm') expect(reportOf(one)!.foreignRunsPerCall).toBe(0);
    await one.release();
    return Array.from((y as ort.Tensor).data as ArrayLike<unknown>);
  };
  const pair = [op('Abs', ['x'], 'a'), op('Cast', ['a'], 'h', to16), op('Cast', ['h'], 'b', to32)];

  it.each<[string, readonly NodeSpec[], ValueSpec['dtype']?]>([
    ['alone', [...pair, op('Sqrt', ['b'], 'y')]],
    ['twice', [...pair, op('Cast', ['b'], 'i', to16), op('Cast', ['i'], 'j', to32), op('Neg', ['j'], 'y')]],
    [
      'beside an operator of float16',
      [...pair, op('Neg', ['h'], 'n'), op('Cast', ['n'], 'c', to32), op('Sub', ['c', 'b'], 'y')],
    ],
    ['compared with what it was made of', [...pair, op('Greater', ['a', 'b'], 'y')], 'bool'],
  ])('round as in ONNX Runtime: %s', async (_, nodes, dtype) => {
    const bytes = model(nodes, dtype);
    expect(await dataOf(bytes, { name: 'msd', claim: 'all' })).toEqual(await dataOf(bytes, 'wasm'));
  });

  // ONNX Runtime computes them as floats, too, and takes the Casts of its own out again.
  it('round nothing between two operators of float16', async () => {
    const bytes = model([
      op('Abs', ['x'], 'a'),
      op('Cast', ['a'], 'h', to16),
      op('Sqrt', ['h'], 's'),
      op('Neg', ['s'], 'n'),
      op('Cast', ['n'], 'y', to32),
    ]);
    const want = await dataOf(bytes, 'wasm');
    expect(want[0]).toBe(-1000);
    expect(await dataOf(bytes, { name: 'msd', claim: 'all' })).toEqual(want);
  });
});
