import { describe, expect, it } from 'vitest';
import { firstDifference, gaussians, random, randomWeights } from '../../../test/random.ts';
import { formats } from '../../formats/index.ts';
import { gemmId } from '../../gemm/options.ts';
import { gemmOptions } from '../../gemm/registry.ts';
import { createBackend } from '../create.ts';
import { LARGE_BYTES, StreamTrial, TrialShape } from './stream-trial.ts';

const kernels = ([4, 8, 1] as const).map((streams) => ({
  ...gemmOptions('gemv', formats.int4, { blockSize: 32, storedZeroPoints: false, scale: 'f32' }),
  streams,
}));

/** Runs calls of a shape until a kernel is chosen. @returns how often each kernel ran */
function settle(trial: StreamTrial, milliseconds: (kernel: number, call: number) => number): number[] {
  const shape = trial.shape('one', 2 ** 22);
  const runs = kernels.map(() => 0);
  for (let call = 0; trial.chosen === undefined; call++) {
    if (call === 10_000) throw new Error('No kernel was chosen.');
    runs[shape.turn]++;
    shape.add(milliseconds(shape.turn, call));
  }
  return runs;
}

describe('trial of streams', () => {
  it('finds the fastest kernel, each of them in turns', () => {
    const trial = new StreamTrial(kernels);
    const runs = settle(trial, (kernel) => [1, 0.9, 1.5][kernel]);
    expect(trial.chosen).toBe(1);
    expect(Math.max(...runs) - Math.min(...runs)).toBe(0);
    expect(trial.shape('one', 2 ** 22).turn).toBe(1);
  });

  it('leaves a draw with the first kernel, also where a clock tells nothing apart', () => {
    for (const times of [
      [1, 0.98, 1.5],
      [0, 0, 0],
      [-1, -1, -1],
      [Number.NaN, Number.NaN, Number.NaN],
    ]) {
      const trial = new StreamTrial(kernels);
      settle(trial, (kernel) => times[kernel]);
      expect(trial.chosen).toBe(0);
    }
  });

  it('takes no notice of a call that waited', () => {
    const trial = new StreamTrial(kernels);
    settle(trial, (kernel, call) => (call % 12 === 1 ? 50 : [1, 0.9, 1.5][kernel]));
    expect(trial.chosen).toBe(1);
  });

  it('compares kernels while they are used, where weights are many, with the same bits', async () => {
    const backend = await createBackend('wasm');
    const int4 = { format: 'int4', N: 1024, K: 1024, blockSize: 32, asymmetric: false } as const;
    const prepared = backend.prepare(randomWeights(random(1), int4));
    const x = gaussians(random(2), int4.K);
    const small = backend.matmul(x, prepared);
    const begun = backend.kernelFor(prepared, 1);
    backend.alloc(LARGE_BYTES, 'what a large model has');
    const again = backend.prepare(randomWeights(random(1), int4));
    for (let i = 0; i < 1200; i++) {
      const y = backend.matmul(x, again);
      if (i % 100 < 3 && firstDifference(y, small) >= 0) throw new Error(`Call ${i} has other bits.`);
    }
    // Whichever it is, it is one of the rivals, for all matrices of the kind; one that was tuned keeps what it was given.
    const settled = backend.kernelFor(again, 1);
    expect(backend.kernelFor(prepared, 1)).toBe(settled);
    expect(settled.replace(/_s\d|_a\d/g, '')).toBe(begun.replace(/_s\d|_a\d/g, ''));
    const [{ kernel }] = backend.autotune(again, 1);
    expect(backend.kernelFor(again, 1)).toBe(kernel);
    expect(gemmId(kernels[0])).toContain('_s4');
    backend.dispose();
  });

  it('goes on where a kernel for many rows was tuned', async () => {
    const backend = await createBackend('wasm', { threads: 1 });
    backend.alloc(LARGE_BYTES, 'what a large model has');
    const int4 = { format: 'int4', N: 1024, K: 1024, blockSize: 32, asymmetric: false } as const;
    const prepared = backend.prepare(randomWeights(random(1), int4));
    const [{ kernel }] = backend.autotune(prepared, 12);
    const begun = backend.kernelFor(prepared, 1);
    const x = gaussians(random(2), int4.K);
    const { add } = TrialShape.prototype;
    TrialShape.prototype.add = function () {
      add.call(this, this.turn === 1 ? 1 : 2);
    };
    try {
      for (let i = 0; i < 1200; i++) backend.matmul(x, prepared);
    } finally {
      TrialShape.prototype.add = add;
    }
    expect(backend.kernelFor(prepared, 1)).not.toBe(begun);
    expect(backend.kernelFor(prepared, 12)).toBe(kernel);
    backend.dispose();
  });
});
