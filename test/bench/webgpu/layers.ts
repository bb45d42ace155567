/** Which layers the WebGPU benchmark runs. */
import { DECODE_ROWS, LLM_LAYERS, PREFILL_ROWS } from '../shapes.ts';
import type { GpuLayer, SuiteOptions } from './suite.ts';

export type Size = 'full' | 'small';

const at = (M: number) => LLM_LAYERS.map(({ name, N, K }): GpuLayer => ({ name, M, N, K }));

/** 'small' is for software adapters: enough to see that all engines run and agree, not to be quoted. */
export const sizes: Readonly<Record<Size, Pick<SuiteOptions, 'layers' | 'rounds' | 'sampleMs' | 'copyBytes'>>> = {
  full: { layers: [...at(DECODE_ROWS), ...at(PREFILL_ROWS)], rounds: 15, sampleMs: 60, copyBytes: 2 ** 28 },
  small: {
    layers: [1, 16].map((M) => ({ name: 'small', M, N: 256, K: 256 })),
    rounds: 3,
    sampleMs: 20,
    copyBytes: 2 ** 24,
  },
};
