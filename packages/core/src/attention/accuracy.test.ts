/** What attention on a quantized cache loses, on the distributions of language models: docs/attention.md, "Accuracy". */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cacheOn, inputsOf, opOf, run, specified, textbook } from '../../test/attention-cases.ts';
import { createBackend, type WasmBackend } from '../index.ts';
import { distributions, sample } from '../numerics/attention-distributions.ts';
import type { KvType } from './contract.ts';

/** Relative error of the kernels on what an int8 cache stores, T = 4096, d = 128. */
const EXPECTED: Readonly<Record<string, number>> = {
  std1: 5.7e-5,
  std2: 8.4e-5,
  std4: 6.2e-5,
  'sink .05x': 5e-6,
  'sink 1x': 4e-6,
  local: 7.2e-5,
  kout: 1.4e-4,
  kbig: 4.6e-4, // from 2.4e-4 on, by length
  vout: 8.4e-5,
  llm: 4.8e-5,
};

/** Queries: fewer of a long text, whose textbook is slow. */
const rowsFor = (T: number) => (T > 4096 ? 2 : 6);
const isLong = Boolean(process.env.MSD_TEST_ALL);
const LENGTHS = isLong ? [128, 4096, 32768] : [128, 4096];

const relative = (got: ArrayLike<number>, want: ArrayLike<number>): number => {
  let [error, norm] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    error += (got[i] - want[i]) ** 2;
    norm += want[i] ** 2;
  }
  return Math.sqrt(error / norm);
};

describe('accuracy of attention', () => {
  let backend: WasmBackend;
  beforeAll(async () => {
    backend = await createBackend('wasm');
  });
  afterAll(() => backend.dispose());

  /** @returns relative error on what is stored, and on what came */
  async function measure(name: string, type: KvType, T: number, d: number) {
    const rows = rowsFor(T);
    const { q, k, v } = sample(distributions[name], T, d, rows, 1);
    const sizes = { batch: 1, heads: 1, kvHeads: 1, headSize: d, valueSize: d };
    const op = opOf({ ...sizes, rows }, { newKeys: T, isCausal: false });
    const cache = cacheOn(backend, { ...sizes, type });
    const inputs = inputsOf(op, { q }, { cache }, [0]);
    const got = await run(backend, op, { q, k, v }, { cache });
    const { bits, exact, bounds } = specified(op, inputs, cache, got.length);
    expect(got).toEqual(bits);
    const far = got.findIndex((value, i) => !(Math.abs(value - exact[i]) <= bounds[i]));
    expect(far, `${name}: error ${got[far] - exact[far]}, bound ${bounds[far]}`).toBe(-1);
    const whole = new Float64Array(got.length);
    const ones = new Float32Array(T).fill(1);
    const plain = {
      ...{ length: T, floatKeys: T, k, v, ks: ones, vs: ones, kc: ones },
      isInt8: false,
      floatValues: true,
    };
    textbook(op, inputs, () => plain, whole);
    cache.dispose();
    const tightness = Math.max(...Array.from(got, (value, i) => Math.abs(value - exact[i]) / bounds[i]));
    return { compute: relative(got, exact), total: relative(got, whole), tightness };
  }

  it.each(Object.keys(distributions))('of %s', { timeout: 600_000 }, async (name) => {
    for (const d of isLong ? [64, 128] : [128])
      for (const T of LENGTHS) {
        const [int8, int16] = [await measure(name, 'int8', T, d), await measure(name, 'int16', T, d)];
        const figures = { int8, int16 };
        console.log(
          `${name}, T = ${T}, d = ${d}`,
          JSON.stringify(figures, (_, value) => (typeof value === 'number' ? Number(value.toPrecision(2)) : value)),
        );
        const most = T === 4096 ? 2 * EXPECTED[name] : name === 'kbig' ? 9.2e-4 : 3e-4;
        expect(int8.compute).toBeLessThan(most);
        expect(int16.compute).toBeLessThan(most);
        expect(int8.total).toBeLessThan(0.1);
        expect(int16.total).toBeLessThan(most + 2e-4);
      }
  });
});
