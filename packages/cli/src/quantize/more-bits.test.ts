import type { NodeSpec } from '@msd/onnx/write';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesOf, gaussian, productModel, tokenModel } from '../../test/models.ts';
import { type OpenModel, openModel } from '../edit/open-model.ts';
import { divergence, type Tried } from './damage.ts';
import { candidatesOf, headInMoreBits, moreBits } from './more-bits.ts';
import { type Plan, planModel } from './plan.ts';

const INT4 = { format: 'int4', blockSize: 32, isAsymmetric: false } as const;

async function planned(spec: Parameters<typeof bytesOf>[0], work: (plan: Plan, model: OpenModel) => void) {
  const model = await openModel(bytesOf(spec));
  work(planModel(model, { choose: () => INT4, isNamed: () => false }), model);
  model.close();
}

const nobody = (): boolean => false;

describe('moreBits', () => {
  it('stays within the bytes that may be added, and takes the most damage per byte first', () =>
    planned(tokenModel('own'), (plan) => {
      const candidates = candidatesOf(plan, nobody);
      expect(candidates.map(({ names }) => names.at(-1))).toEqual(['layer', 'head']);
      fc.assert(
        fc.property(
          fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 2, maxLength: 2 }),
          fc.double({ min: 0, max: 1, noNaN: true }),
          (damages, share) => {
            const tried: Tried[] = candidates.map((group, i) => ({ groups: [group], damage: damages[i]! }));
            const { plan: better, chosen } = moreBits(plan, tried, share);
            expect(better.byteLength).toBeLessThanOrEqual((1 + share) * plan.byteLength);
            expect(better.byteLength - plan.byteLength).toBe(chosen.reduce((sum, each) => sum + each.moreBytes, 0));
            expect(better.weights).toBe(plan.weights);
            for (const [i, { shape, matrix }] of better.groups.entries())
              expect(shape.format).toBe(
                chosen.some(({ name }) => name === matrix.held.name) ? 'int8' : plan.groups[i]!.shape.format,
              );
          },
        ),
      );
    }));

  it('leaves alone what does no more damage for its size than the others', () =>
    planned(tokenModel('own'), (plan) => {
      const candidates = candidatesOf(plan, nobody);
      const even = candidates.map((group) => ({ groups: [group], damage: group.byteLength }));
      expect(moreBits(plan, even, 1).chosen).toEqual([]);
      const uneven = candidates.map((group, i) => ({ groups: [group], damage: group.byteLength * (i === 0 ? 3 : 1) }));
      expect(moreBits(plan, uneven, 1).chosen.map(({ name }) => name)).toEqual(['layer']);
      const none = candidates.map((group) => ({ groups: [group], damage: 0 }));
      expect(moreBits(plan, none, 1).chosen).toEqual([]);
    }));

  it('does not touch what a rule names, nor other forms', () =>
    planned(tokenModel('own'), (plan) => {
      expect(candidatesOf(plan, (names) => names.includes('head')).map(({ names }) => names.at(-1))).toEqual(['layer']);
    }));

  it.each(['copy', 'Transpose', 'Gemm', 'own'] as const)('knows the head, tied by %s', (head) =>
    planned(tokenModel(head), (plan, model) => {
      const { chosen, plan: better } = headInMoreBits(model, plan, candidatesOf(plan, nobody), 1);
      expect(chosen.map(({ name }) => name)).toEqual([head === 'Transpose' || head === 'Gemm' ? 'table' : 'head']);
      expect(better.groups.filter(({ shape }) => shape.format === 'int8')).toHaveLength(1);
      expect(headInMoreBits(model, plan, candidatesOf(plan, nobody), 0.001).chosen).toEqual([]);
    }),
  );

  it('looks for no head in a circle', () => {
    const model = productModel(32, 64, gaussian(2048, 1));
    const circle = [
      { opType: 'Identity', inputs: ['b'], outputs: ['logits'] },
      { opType: 'Identity', inputs: ['logits'], outputs: ['b'] },
    ];
    const graph = { ...model.graph, nodes: [...(model.graph.nodes as readonly NodeSpec[]), ...circle] };
    return planned({ ...model, graph }, (plan, open) => {
      expect(headInMoreBits(open, plan, candidatesOf(plan, nobody), 1).chosen).toEqual([]);
    });
  });

  it('knows no head of a model without logits', () =>
    planned(productModel(32, 64, gaussian(2048, 1)), (plan, model) => {
      expect(headInMoreBits(model, plan, candidatesOf(plan, nobody), 1).chosen).toEqual([]);
    }));
});

describe('divergence', () => {
  it('is a number where words are ruled out', () => {
    const logits = (...rest: number[]) => Float32Array.of(-Infinity, ...rest);
    expect(divergence(logits(1, 2), logits(1, 2))).toBe(0);
    expect(divergence(logits(1, 2), logits(2, 1))).toBe(divergence(Float32Array.of(1, 2), Float32Array.of(2, 1)));
  });

  it('is that of the probabilities: never below 0, and 0 where a constant is added to all logits', () => {
    const logits = fc.array(fc.float({ min: -20, max: 20, noNaN: true }), { minLength: 6, maxLength: 6 });
    fc.assert(
      fc.property(logits, logits, fc.integer({ min: -50, max: 50 }), (a, b, more) => {
        const [x, y] = [Float32Array.from(a), Float32Array.from(b)];
        const shares = [x, y].map((all) => {
          const sum = all.reduce((total, logit) => total + Math.exp(logit), 0);
          return Array.from(all, (logit) => Math.exp(logit) / sum);
        });
        const expected = shares[0]!.reduce((sum, p, i) => sum + p * Math.log(p / shares[1]![i]!), 0);
        const got = divergence(x, y);
        expect(Math.abs(got - expected)).toBeLessThanOrEqual(1e-12 * (1 + expected) * 40);
        expect(got).toBeGreaterThanOrEqual(-1e-12);
        // Exact for such numbers.
        const rounded = x.map(Math.round);
        expect(
          Math.abs(
            divergence(
              rounded,
              rounded.map((logit) => logit + more),
            ),
          ),
        ).toBeLessThanOrEqual(1e-13);
      }),
    );
  });
});
