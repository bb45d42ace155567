import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { quantize, register, unregister } from '../src/index.ts';
import { BACKENDS, relativeL2, tensor, tf, tidied, useBackend, withoutLeaks } from './tf.ts';

beforeAll(() => register(tf));
afterAll(() => unregister(tf));

/** Repeats both operands in full, which stock kernels read as they should. */
const repeated = (x: tf.Tensor, lead: number[]) => {
  const own = [...Array<number>(lead.length + 2 - x.rank).fill(1), ...x.shape];
  return tf.tile(
    tf.reshape(x, own),
    own.map((dim, i) => (i < lead.length && dim === 1 ? lead[i]! : 1)),
  );
};

describe.each(BACKENDS)('what stock tfjs lacks on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('multiplies batches that broadcast on both sides', async () => {
    const cases = fc.record({
      lead: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 }),
      aOnes: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
      bOnes: fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }),
      drop: fc.tuple(fc.nat(3), fc.nat(3)),
      transpose: fc.tuple(fc.boolean(), fc.boolean()),
      seed: fc.nat(1e6),
    });
    await withoutLeaks(() =>
      fc.assert(
        fc.property(cases, ({ lead, aOnes, bOnes, drop, transpose: [ta, tb], seed }) => {
          const dims = (ones: boolean[], skip: number) => {
            const all = lead.map((dim, i) => (ones[i] ? 1 : dim));
            const leading = all.findIndex((dim) => dim !== 1);
            return all.slice(Math.min(skip, leading < 0 ? all.length : leading)); // only ones may be left out
          };
          const [aLead, bLead] = [dims(aOnes, drop[0]), dims(bOnes, drop[1])];
          tf.tidy(() => {
            const a = tensor(seed, [...aLead, ...(ta ? [4, 3] : [3, 4])]);
            const b = tensor(seed + 1, [...bLead, ...(tb ? [5, 4] : [4, 5])]);
            const y = tf.matMul(a, b, ta, tb);
            const shape = lead.map((dim, i) => (aOnes[i] && bOnes[i] ? 1 : dim));
            const out = shape.slice(shape.length - Math.max(aLead.length, bLead.length));
            const want = tf.matMul(repeated(a, out), repeated(b, out), ta, tb);
            expect(y.shape).toEqual(want.shape);
            expect(y.dataSync()).toEqual(want.dataSync());
          });
        }),
      ),
    );
  });

  it('leaves quantized operands to what overrides them', async () => {
    register(tf, { override: true });
    await withoutLeaks(() =>
      tf.tidy(() => {
        const [x, w] = [tensor(1, [2, 1, 3, 64]), tensor(2, [64, 32])];
        const stock = tf.matMul(x, w);
        quantize(w, { format: 'int4' });
        const error = relativeL2(tf.matMul(x, w).dataSync(), stock.dataSync());
        expect(error).toBeGreaterThan(1e-3);
        expect(error).toBeLessThan(0.2);
        const both = tf.matMul(tensor(1, [2, 1, 3, 64]), tensor(2, [1, 4, 64, 5]));
        expect(both.shape).toEqual([2, 4, 3, 5]);
      }),
    );
    register(tf);
  });

  it('is stock again once it is unregistered', () => {
    const ours = tf.getKernel('BatchMatMul', backend);
    unregister(tf);
    expect(tf.getKernel('BatchMatMul', backend)).not.toBe(ours);
    expect(tf.getKernel('Einsum', backend) === undefined).toBe(backend === 'wasm');
    register(tf);
    register(tf);
    unregister(tf);
    expect(tf.getKernel('Einsum', backend) === undefined).toBe(backend === 'wasm');
    register(tf);
  });
});

/** In float64, by definition. */
function einsum(terms: readonly string[], out: string, operands: readonly tf.Tensor[]): number[] {
  const sizes = new Map<string, number>();
  terms.forEach((term, i) => {
    for (const [d, index] of [...term].entries()) sizes.set(index, operands[i]!.shape[d]!);
  });
  const all = [...out, ...[...sizes.keys()].filter((index) => !out.includes(index))];
  const values = operands.map((x) => x.dataSync());
  const result = Array<number>([...out].reduce((n, index) => n * sizes.get(index)!, 1)).fill(0);
  const total = all.reduce((n, index) => n * sizes.get(index)!, 1);
  for (let i = 0; i < total; i++) {
    const at = new Map<string, number>();
    for (let d = all.length - 1, rest = i; d >= 0; d--) {
      at.set(all[d]!, rest % sizes.get(all[d]!)!);
      rest = Math.floor(rest / sizes.get(all[d]!)!);
    }
    const offset = (term: string) => [...term].reduce((n, index) => n * sizes.get(index)! + at.get(index)!, 0);
    result[offset(out)]! += terms.reduce((product, term, t) => product * values[t]![offset(term)]!, 1);
  }
  return result;
}

describe('Einsum on wasm', () => {
  beforeAll(() => useBackend('wasm'));
  const sizes: Readonly<Record<string, number>> = { a: 2, b: 3, c: 4, d: 5, e: 6, f: 1 };
  const shapeOf = (term: string) => [...term].map((index) => sizes[index]!);

  function check(terms: readonly string[], out: string, dtype: 'float32' | 'int32', seed = 1): void {
    tf.tidy(() => {
      const scale = dtype === 'int32' ? 9 : 1;
      const operands = terms.map((term, i) => tf.cast(tf.mul(tensor(seed + i, shapeOf(term)), scale), dtype));
      const y = tf.einsum(`${terms.join(' , ')} -> ${out}`, ...operands);
      expect(y.shape).toEqual(shapeOf(out));
      expect(y.dtype).toBe(dtype);
      const want = einsum(terms, out, operands);
      const error = Math.max(0, ...y.dataSync().map((value, i) => Math.abs(value - want[i]!)));
      expect(error).toBeLessThan(dtype === 'int32' ? 1e-9 : 1e-4);
    });
  }

  // Attention as Keras exports it, then one of every kind.
  it.each([
    'aecd,abcd->acbe',
    'acbe,aecd->abcd',
    'abc,cde->abde',
    'abcd,cde->abe',
    'ab,bc->ac',
    'ba,bc->ac',
    'ab,cb->ca',
    'ab,ab->',
    'ab,ab->a',
    'ab,cd->abcd',
    'a,b->ba',
    'ab,c->b',
    'abc,cd->d',
    'ecb,ce->be', // batches whose rows lie behind what is summed over
    'abcf,fde->cae',
    'abc->cab',
    'abc->b',
    'ab->ab',
    'ab->',
  ])('%s', async (equation) => {
    const [left, out] = equation.split('->') as [string, string];
    await withoutLeaks(() => {
      check(left.split(','), out, 'float32');
      check(left.split(','), out, 'int32');
    });
  });

  it('takes any two terms', async () => {
    const term = fc.shuffledSubarray([...'abcdef'], { maxLength: 4 });
    const cases = fc.tuple(term, term, fc.shuffledSubarray([...'abcdef']), fc.boolean(), fc.nat(1000));
    await withoutLeaks(() =>
      fc.assert(
        fc.property(cases, ([left, right, order, isInteger, seed]) => {
          const out = order.filter((index) => left.includes(index) || right.includes(index)).join('');
          check([left.join(''), right.join('')], out, isInteger ? 'int32' : 'float32', seed);
        }),
      ),
    );
  });

  it('gives zeros for empty sums, and refuses what tfjs refuses', async () => {
    await withoutLeaks(() =>
      tf.tidy(() => {
        const empty = tf.einsum('ab,bc->ac', tf.zeros([2, 0]), tf.zeros([0, 3]));
        expect(empty.dataSync()).toEqual(new Float32Array(6));
        expect(tf.einsum('ab,bc->ac', tf.zeros([0, 2]), tf.zeros([2, 3])).shape).toEqual([0, 3]);
        const x = tf.ones([2, 3]);
        for (const equation of ['ij,jk,kl->il', 'ij', 'ij,jk', '...j,jk->k', 'ii,ik->k', 'ij,jk->il'])
          expect(() => tidied(() => tf.einsum(equation, x, x))).toThrow();
        expect(() => tidied(() => tf.einsum('ij,jk->ik', x, x))).toThrow('dimension');
      }),
    );
  });
});
