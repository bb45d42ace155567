/** Seeded scenarios: shapes around the edges of pages and panels, in every form. */
import {
  type AttentionOp,
  type AttentionRun,
  type KvCache,
  type KvShape,
  type KvType,
  PAGE_KEYS,
  type ScoreDims,
} from '../src/attention/contract.ts';
import { type Operands, opOf } from './attention-cases.ts';
import { gaussian, type Random } from './random.ts';

/** One run on a scenario's cache. */
export interface ScenarioRun {
  readonly op: AttentionOp;
  readonly operands: Operands;
  readonly now: Omit<AttentionRun<KvCache>, 'cache'>;
}

export interface Scenario {
  readonly name: string;
  readonly shape: KvShape;
  readonly runs: readonly ScenarioRun[];
}

const pick = <T>(next: Random, values: readonly T[]): T => values[Math.floor(next() * values.length)];
const upTo = (next: Random, most: number): number => Math.floor(next() * (most + 1));

/** Keys of decoders: some channels have a bias, key 0 draws attention. */
export function keysOf(next: Random, length: number, size: number, kind: 'plain' | 'outliers'): Float32Array {
  const x = Float32Array.from({ length }, () => gaussian(next));
  if (kind === 'outliers') for (let i = 0; i < length; i++) if (i % size === size >> 1) x[i] += 30;
  return x;
}

export const TYPES: readonly KvType[] = ['int16', 'int8', 'float'];

/** Everything that a run may have, each now and then. */
export function scenario(seed: number, next: Random): Scenario {
  const batch = pick(next, [1, 1, 2, 3]);
  const kvHeads = pick(next, [1, 2, 3]);
  const group = pick(next, [1, 1, 2, 3, 4, 7, 8, 16]);
  const heads = kvHeads * group;
  const headSize = pick(next, [8, 15, 16, 20, 64, 80, 96, 128, 256, 512]);
  const valueSize = pick(next, [headSize, headSize, 8, 24, 33]);
  const type = pick(next, TYPES);
  const factors = pick<Float32Array | false | undefined>(next, [
    undefined,
    undefined,
    false,
    Float32Array.from({ length: kvHeads * headSize }, () => 0.1 + next()),
  ]);
  const shape: KvShape = { batch, kvHeads, headSize, valueSize, type, factors, isInterleaved: next() < 0.2 };
  const isOften = next() < 0.5;
  const has = () => isOften && next() < 0.3;
  const form: Partial<AttentionOp> = {
    isCausal: next() < 0.8,
    window: has() ? 1 + upTo(next, 90) : undefined,
    softcap: has() ? 1 + 20 * next() : undefined,
    scale: has() ? next() : undefined,
    alibi: has() ? Array.from({ length: heads }, () => next()) : undefined,
  };
  const isRagged = has();
  const starts = has() ? Array.from({ length: batch }, () => upTo(next, 70)) : undefined;
  const kind = pick(next, ['plain', 'outliers'] as const);
  let lengths = Array.from({ length: batch }, () => 0);
  const runs = Array.from({ length: 1 + upTo(next, 3) }, (_, i): ScenarioRun => {
    const prompt = pick(next, [1, 5, 63, 64, 65, 100]);
    const isShort = heads * headSize > 300; // few queries of many keys: the references are slow
    const rows = i === 0 ? (isShort ? Math.min(prompt, 3) : prompt) : pick(next, [1, 1, 1, 2, 3, 8]);
    const newKeys = i === 0 ? prompt : has() ? pick(next, [0, rows + 3]) : rows;
    const past = has() ? lengths.map((length) => upTo(next, length)) : undefined;
    const counts = isRagged ? lengths.map(() => upTo(next, newKeys)) : undefined;
    const before = newKeys > 0 ? (past ?? lengths) : lengths;
    lengths = before.map((length, b) => length + (newKeys > 0 ? (counts?.[b] ?? newKeys) : 0));
    const keys = Math.max(...lengths) + (has() ? 5 : 0);
    const dims = (): ScoreDims => [
      pick(next, [1, batch]),
      pick(next, [1, heads]),
      pick(next, [1, rows]),
      Math.max(1, keys),
    ];
    const bias = has()
      ? scores(dims(), () => pick(next, [0, gaussian(next), -3.4e38, Number.NEGATIVE_INFINITY]))
      : undefined;
    const mask = has() ? scores(dims(), () => +(next() < 0.7)) : undefined;
    const isOperand = next() < 0.5;
    return {
      op: opOf(
        { batch, heads, kvHeads, headSize, valueSize, rows },
        { ...form, newKeys, ...(isOperand ? { bias: bias?.dims, mask: mask?.dims } : {}) },
      ),
      operands: {
        q: keysOf(next, batch * rows * heads * headSize, headSize, 'plain'),
        k: newKeys ? keysOf(next, batch * newKeys * kvHeads * headSize, headSize, kind) : undefined,
        v: newKeys ? keysOf(next, batch * newKeys * kvHeads * valueSize, valueSize, kind) : undefined,
        sinks: has() ? keysOf(next, heads, heads, 'plain') : undefined,
        ...(isOperand ? { bias: bias && Float32Array.from(bias.data), mask: mask && Uint8Array.from(mask.data) } : {}),
      },
      now: {
        past,
        counts,
        starts,
        isCausal: has() ? next() < 0.5 : undefined,
        ...(isOperand
          ? {}
          : {
              bias: bias && { dims: bias.dims, data: Float32Array.from(bias.data) },
              mask: mask && { dims: mask.dims, data: Uint8Array.from(mask.data) },
            }),
      },
    };
  });
  return {
    name: `scenario ${seed}: ${JSON.stringify({ ...shape, factors: factors && 'given', ...form, runs: runs.length })}`,
    shape,
    runs,
  };
}

const ODD = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3.4e38, -1e30, 1e-40, -0] as const;

/** A scenario with values that no model has, each now and then, and with first pages that masks hide. */
export function oddScenario(seed: number, next: Random): Scenario {
  const { name, runs, ...rest } = scenario(seed, next);
  const rate = pick(next, [0.002, 0.02]);
  const spoil = (data: Float32Array | undefined, share = rate): void => {
    if (!data || next() < 0.5) return;
    for (let i = 0; i < data.length; i++) if (next() < share) data[i] = pick(next, ODD);
  };
  for (const { op, operands, now } of runs) {
    for (const data of [operands.q, operands.k, operands.v, operands.bias, now.bias?.data]) spoil(data);
    spoil(operands.sinks, 0.3);
    const mask = now.mask?.data ?? operands.mask;
    const [keys] = (now.mask?.dims ?? op.mask ?? []).slice(-1);
    const hidden = pick(next, [0, 1, PAGE_KEYS]);
    if (mask) for (let i = 0; i < mask.length; i++) if (i % keys! < hidden) mask[i] = 0;
  }
  return { name: `odd ${name}`, runs, ...rest };
}

const scores = (dims: ScoreDims, value: () => number) => ({
  dims,
  data: Array.from({ length: dims.reduce((a, b) => a * b, 1) }, value),
});
