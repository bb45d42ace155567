/**
 * What is compared: chains of layers in decoding, so that what a call costs by itself does not decide (a LiteRT `run`
 * costs about 35 µs, as much as a whole 896² layer), single layers or one MLP in prefill.
 */
import { DECODE_ROWS, type LayerShape, LLM_LAYERS, PREFILL_ROWS } from './shapes.ts';

export type Phase = 'decode' | 'prefill';

export interface Case {
  /** `decode 896²`. */
  readonly id: string;
  readonly phase: Phase;
  /** Row of the tables that decode and prefill share. */
  readonly shape: string;
  /** What one call multiplies with, in words. */
  readonly chain: string;
  readonly M: number;
  readonly layers: readonly LayerShape[];
}

const [QO, GATE_UP, DOWN, LLAMA_1B, LLAMA_8B] = LLM_LAYERS as [
  LayerShape,
  LayerShape,
  LayerShape,
  LayerShape,
  LayerShape,
];
const repeat = (count: number, ...layers: LayerShape[]): LayerShape[] =>
  Array.from({ length: count }, () => layers).flat();

const SHAPES: readonly { shape: string; decode: LayerShape[]; decodeChain: string; prefill: LayerShape[] }[] = [
  { shape: '896²', decode: repeat(9, QO), decodeChain: '9 layers 896×896', prefill: [QO] },
  {
    shape: '896×4864, 4864×896',
    decode: repeat(3, GATE_UP, DOWN),
    decodeChain: '3 times 896×4864 and 4864×896',
    prefill: [GATE_UP, DOWN],
  },
  { shape: '2048²', decode: repeat(5, LLAMA_1B), decodeChain: '5 layers 2048×2048', prefill: [LLAMA_1B] },
  { shape: '4096²', decode: [LLAMA_8B], decodeChain: 'one layer 4096×4096', prefill: [LLAMA_8B] },
];

export const CASES: readonly Case[] = (['decode', 'prefill'] as const).flatMap((phase) =>
  SHAPES.map(
    ({ shape, decode, decodeChain, prefill }): Case => ({
      id: `${phase} ${shape}`,
      phase,
      shape,
      chain: phase === 'decode' ? decodeChain : prefill.map(({ K, N }) => `${K}×${N}`).join(' and '),
      M: phase === 'decode' ? DECODE_ROWS : PREFILL_ROWS,
      layers: phase === 'decode' ? decode : prefill,
    }),
  ),
);

/** M·N·K of a call, counted once. */
export const macsOf = ({ M, layers }: Pick<Case, 'M' | 'layers'>): number =>
  layers.reduce((sum, { K, N }) => sum + M * K * N, 0);
