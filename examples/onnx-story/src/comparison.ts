/** What both sides wrote, run by run, and the figures out of it. */
import { median } from '../../shared/elements.ts';
import { firstDifference } from './difference.ts';
import type { Reply, Side } from './protocol.ts';
import { tokensPerSecond } from './rates.ts';
import type { Figures } from './share.ts';

type Written = Extract<Reply, { type: 'written' }>;

export const SIDES: readonly Side[] = ['stock', 'msd'];

/** All runs with one model and one setting. */
export class Comparison {
  readonly #startMs: Record<Side, number>;
  readonly #runs: Record<Side, Written[]> = { stock: [], msd: [] };

  constructor() {
    this.#startMs = { stock: 0, msd: 0 };
  }

  started(side: Side, milliseconds: number): void {
    this.#startMs[side] = milliseconds;
  }

  wrote(side: Side, written: Written): void {
    this.#runs[side].push(written);
  }

  /** Runs that both sides have ended. */
  get rounds(): number {
    return Math.min(this.#runs.stock.length, this.#runs.msd.length);
  }

  last(side: Side): Written | undefined {
    return this.#runs[side].at(-1);
  }

  /** Medians over the runs; `undefined` before the first has ended, or when it wrote one token. */
  figures(side: Side): Figures | undefined {
    const runs = this.#runs[side];
    const rates = runs.flatMap(({ times }) => tokensPerSecond(times) ?? []);
    const last = runs.at(-1);
    if (!last || rates.length === 0) return undefined;
    return {
      rate: median(rates),
      firstMs: median(runs.map(({ times }) => times[0]!)),
      startMs: this.#startMs[side],
      memory: last.memory,
      code: last.code,
    };
  }

  /** Of the last round that both have ended. */
  get tokens(): { readonly written: number; readonly same: number } | undefined {
    const [stock, msd] = SIDES.map((side) => this.#runs[side][this.rounds - 1]);
    if (!stock || !msd) return undefined;
    const written = Math.max(stock.ids.length, msd.ids.length);
    return { written, same: firstDifference(stock.ids, msd.ids) ?? written };
  }
}
