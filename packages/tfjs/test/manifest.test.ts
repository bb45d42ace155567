/** The manifest reader against damaged files: a typed error or a model, never a crash, a hang, or a tensor left behind. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadGraphModel, loadLayersModel, ModelFormatError, register, unregister } from '../src/index.ts';
import { readManifest, type WeightSpec } from '../src/weights/manifest.ts';
import { artifactsOf, floats, handlerOf, ints, placeholder } from './graph.ts';
import { random, tf, useBackend } from './tf.ts';

beforeAll(async () => {
  await useBackend('cpu');
  register(tf);
});
afterAll(() => unregister(tf));

const specs: WeightSpec[] = [
  { name: 'a', shape: [2, 3], dtype: 'float32' },
  { name: 'b', shape: [3], dtype: 'float32', quantization: { dtype: 'uint8', scale: 0.5, min: -1 } },
  { name: 'c', shape: [], dtype: 'int32' },
  { name: 'd', shape: [2], dtype: 'float32', quantization: { dtype: 'float16' } },
  { name: 'e', shape: [2], dtype: 'string' },
  { name: 'f', shape: [5], dtype: 'bool' },
];
const bytes = Uint8Array.of(
  ...Array<number>(24).fill(1),
  7,
  8,
  9,
  42,
  0,
  0,
  0,
  0,
  0x3c,
  0,
  0x40,
  1,
  0,
  0,
  0,
  65,
  2,
  0,
  0,
  0,
  66,
  67,
  1,
  0,
  1,
  0,
  1,
);

describe('readManifest', () => {
  it('finds every weight by range, in one buffer or in parts that cut weights', () => {
    for (const cuts of [[], [1], [23, 25], [24, 27, 31]]) {
      const parts = [0, ...cuts].map((begin, i) => bytes.slice(begin, cuts[i] ?? bytes.length).buffer);
      const weights = readManifest(specs, parts.length === 1 ? parts[0] : parts);
      expect([...weights.keys()]).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
      expect([...weights.get('b')!.bytes()]).toEqual([7, 8, 9]);
      expect([...weights.get('c')!.bytes()]).toEqual([42, 0, 0, 0]);
      expect([...weights.get('e')!.bytes()]).toEqual([1, 0, 0, 0, 65, 2, 0, 0, 0, 66, 67]);
      expect([...weights.get('f')!.bytes()]).toEqual([1, 0, 1, 0, 1]);
    }
  });

  it('names what is wrong', () => {
    const changed = (at: number, change: object) => specs.map((spec, i) => (i === at ? { ...spec, ...change } : spec));
    const bad: [unknown, unknown, RegExp][] = [
      ['x', bytes.buffer, /specs, expected an array/],
      [specs, bytes.slice(0, -1).buffer, /f \[5\], expected bytes .* truncated/],
      [specs, 'bytes', /expected an ArrayBuffer/],
      [specs, undefined, /expected an ArrayBuffer/],
      [[null], bytes.buffer, /name, expected a string/],
      [changed(0, { shape: [2, -3] }), bytes.buffer, /a, expected a shape of sizes, got \[2,-3\]/],
      [changed(0, { shape: [2 ** 40] }), bytes.buffer, /larger than memory/],
      [changed(0, { shape: 'x' }), bytes.buffer, /shape/],
      [changed(0, { dtype: 'float64' }), bytes.buffer, /dtype/],
      [
        changed(1, { quantization: { dtype: 'uint4' } }),
        bytes.buffer,
        /quantization of uint8,uint16,float16, got uint4/,
      ],
      [changed(1, { quantization: { dtype: 'uint8', scale: Number.NaN, min: 0 } }), bytes.buffer, /finite scale/],
      [changed(1, { quantization: null }), bytes.buffer, /quantization/],
      [changed(4, { shape: [3] }), bytes.buffer, /past the end|truncated|expected/],
    ];
    for (const [manifest, data, message] of bad) {
      expect(() => readManifest(manifest, data), String(message)).toThrow(ModelFormatError);
      expect(() => readManifest(manifest, data), String(message)).toThrow(message);
    }
  });
});

const TYPED = new Set(['ModelFormatError', 'RangeError', 'TypeError', 'UnsupportedError']);

/** Structures to damage: every stored form, MSD's own ops, control flow, a layers model. */
async function corpus(): Promise<tf.io.ModelArtifacts[]> {
  const graph = {
    nodes: [
      placeholder('x', 'DT_INT32'),
      { name: 'e', op: 'GatherV2', input: ['table', 'x', 'axis'] },
      { name: 'm', op: 'MatMul', input: ['e', 'kernel'] },
      { name: 'r', op: 'Reshape', input: ['m', 'shape'] },
      { name: 'y', op: 'BiasAdd', input: ['r', 'bias'] },
    ],
    weights: [
      floats('table', [60, 70], 'uint8' as const),
      floats('kernel', [70, 32], 'uint16' as const),
      floats('bias', [32], 'float16' as const),
      ints('axis', [0], []),
      ints('shape', [-1, 32]),
    ],
    outputs: ['y'],
  };
  const plain = artifactsOf(graph);
  const model = await loadGraphModel(handlerOf(plain));
  const { artifacts } = model as unknown as { artifacts: tf.io.ModelArtifacts };
  const own = { ...artifacts, weightData: tf.io.CompositeArrayBuffer.join(artifacts.weightData as ArrayBuffer[]) };
  model.dispose();
  const dense = tf.sequential({ layers: [tf.layers.dense({ units: 32, inputShape: [64] })] });
  let layers: tf.io.ModelArtifacts | undefined;
  await dense.save(
    tf.io.withSaveHandler(async (given) => {
      layers = given;
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } };
    }),
  );
  dense.dispose();
  return [plain, own, layers!];
}

const REPLACEMENTS: readonly unknown[] = [
  null,
  undefined,
  -1,
  0,
  2 ** 31,
  1e300,
  Number.NaN,
  '',
  'x',
  '^m',
  'y',
  [],
  [0],
  {},
  true,
];

/** A copy with up to three values, keys or bytes damaged. */
function mutant(artifacts: tf.io.ModelArtifacts, seed: number): tf.io.ModelArtifacts {
  const next = random(seed);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)]!;
  const copy = structuredClone({ ...artifacts, weightData: (artifacts.weightData as ArrayBuffer).slice(0) }) as Record<
    string,
    unknown
  >;
  for (let count = 1 + Math.floor(3 * next()); count > 0; count--) {
    if (next() < 0.15) {
      const length = (copy.weightData as ArrayBuffer | undefined)?.byteLength ?? 0;
      copy.weightData = new ArrayBuffer(Math.floor(next() * 2 * length));
      continue;
    }
    let holder: Record<string, unknown> = copy;
    let key = pick(['modelTopology', 'weightSpecs', 'modelTopology', 'weightSpecs', 'signature']);
    for (let depth = 0; depth < 12; depth++) {
      const inner = holder[key];
      if (
        typeof inner !== 'object' ||
        inner === null ||
        inner instanceof ArrayBuffer ||
        Object.keys(inner).length === 0
      )
        break;
      if (depth > 1 && next() < 0.2) break;
      holder = inner as Record<string, unknown>;
      key = pick(Object.keys(holder));
    }
    if (next() < 0.2 && !Array.isArray(holder)) delete holder[key];
    else holder[key] = structuredClone(pick(REPLACEMENTS));
  }
  return copy as tf.io.ModelArtifacts;
}

describe('damaged models', { timeout: 300_000 }, () => {
  it('end in a typed error or in a model, and leave nothing behind', async () => {
    const files = await corpus();
    const outcomes: Record<string, number> = {};
    const runs = process.env.MSD_TEST_ALL === '1' ? 20_000 : 1500;
    for (let seed = 1; seed <= runs; seed++) {
      const at = seed % files.length;
      const artifacts = mutant(files[at]!, seed);
      const before = tf.memory();
      let outcome = 'loaded';
      try {
        const load = at === 2 ? loadLayersModel : loadGraphModel;
        (await load({ load: async () => artifacts })).dispose();
      } catch (error) {
        // What tfjs itself says of a part that MSD had no reason to read, and what it then leaves behind, is its own.
        const isStock = /^\s+at .*$/m.exec((error as Error).stack ?? '')?.[0].includes('tensorflow') ?? false;
        outcome = isStock ? 'refused by tfjs' : (error as Error).name;
        if (!isStock && !TYPED.has(outcome)) throw new Error(`seed ${seed}: ${(error as Error).stack}`);
      }
      if (outcome === 'refused by tfjs') tf.disposeVariables();
      else expect(tf.memory().numTensors - before.numTensors, `seed ${seed}, ${outcome}`).toBe(0);
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
    expect(outcomes.ModelFormatError).toBeGreaterThan(runs / 10);
    expect(outcomes.loaded).toBeGreaterThan(runs / 20);
  });

  it('read any bytes as codes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(80), (data, length) => {
        const read = () => readManifest([{ name: 'w', shape: [length], dtype: 'string' }], data.slice().buffer);
        try {
          read();
        } catch (error) {
          expect(error).toBeInstanceOf(ModelFormatError);
        }
      }),
    );
  });
});
