import { describe, expect, it } from 'vitest';
import { deriveCoefficients } from '../../test/derive-activations.ts';
import { kernelOn } from '../../test/kernels.ts';
import { samples, ulp } from '../../test/ulp.ts';
import { Arena } from '../backends/arena.ts';
import { endSpec } from '../recombine/end.wasm.ts';
import { activation32, activation64 } from './activations.reference.ts';
import { ERFCX, EXP, TANH } from './coefficients.ts';
import { type ActivationId, activationIds, activationUlps } from './contract.ts';

const NAMED = [0, -0, 2 ** -149, -(2 ** -149), 2 ** -126, 1, -1, 3.4028234663852886e38, -3.4028234663852886e38]
  .concat([Infinity, -Infinity, NaN, 88.7, -87.3, -88.7, -103.9, -104, -119.9, -120, -121, 0.625, -0.625, 9, 10, -10])
  .concat([15.49, 15.5, -15.49, -15.5, 14.1, -14.1]);

const LENGTH = 4096;

describe('activations', () => {
  it('have the coefficients that the derivation gives', () => {
    expect(deriveCoefficients()).toEqual({ EXP, TANH, ERFCX });
  });

  const arena = new Arena();
  const y = arena.alloc(4 * LENGTH);
  for (const id of activationIds)
    it(`${id}: the kernel gives the contract’s bits, within the stated ulps of float64`, { timeout: 600_000 }, () => {
      const kernel = kernelOn(arena.memory, endSpec, id);
      const none = { multiply: 0, multiplyStride: 0, residual: 0, residualStride: 0 };
      for (const x of samples(NAMED, LENGTH)) {
        arena.float32(y).set(x);
        kernel({ ...none, y: y.ptr, yStride: 4 * LENGTH, M: 1, vectors: LENGTH / 4 });
        const got = arena.float32(y);
        for (let i = 0; i < LENGTH; i++) {
          const want = activation32(id, x[i]);
          if (!Object.is(got[i], want)) throw new Error(`${id}(${x[i]}) expected ${want}, got ${got[i]}`);
          const exact = activation64(id, x[i]);
          const [ulps, limit] = [Math.abs(want - exact) / ulp(exact), activationUlps(id, x[i])];
          if (Math.abs(x[i]) < Infinity && !(ulps <= limit))
            throw new Error(`${id}(${x[i]}) expected ${exact}, got ${want}: ${ulps} ulp, stated ${limit}`);
        }
      }
    });

  it('have their limits at infinity, and keep NaN', () => {
    const limits: Record<ActivationId, [atMinus: number, atPlus: number]> = {
      relu: [0, Infinity],
      relu6: [0, 6],
      sigmoid: [0, 1],
      tanh: [-1, 1],
      silu: [-0, Infinity],
      gelu: [-0, Infinity],
      gelu_tanh: [-0, Infinity],
    };
    for (const id of activationIds) {
      expect([activation32(id, -Infinity), activation32(id, Infinity)], id).toEqual(limits[id]);
      expect([activation64(id, -Infinity), activation64(id, Infinity)], id).toEqual(limits[id]);
      expect(activation32(id, NaN), id).toBeNaN();
    }
  });

  it('keep the sign of zero where the function is odd', () => {
    for (const id of ['tanh', 'silu', 'gelu', 'gelu_tanh'] as const)
      expect([activation32(id, 0), activation32(id, -0)], id).toEqual([0, -0]);
  });
});
