/**
 * Which kernels a product uses: the carrier is chosen by probing and timing, once per page, kind of matrix and shape
 * class. Every route gives the same bits.
 */
import { type Decomposition, digitsOf, resolveDecomposition } from '../../decompose/contract.ts';
import type { WeightFormat, WeightVariant } from '../../formats/format.ts';
import { formats } from '../../formats/index.ts';
import { type CarrierOptions, fitsI8, I16 } from '../../gemm/carriers.ts';
import { type GemmOptions, gemmId } from '../../gemm/options.ts';
import {
  type GemmShape,
  gemmOptions,
  gemmSpec,
  otherStreams,
  TRIAL_ROWS,
  tileCandidates,
  type Unroll,
} from '../../gemm/registry.ts';
import { kernelOf } from '../../kernel-spec.ts';
import { type CarrierChoice, keepsOrder, type RelaxedDot, relaxedDot } from '../../wasm/features.ts';
import { isClockFine, settledTime } from '../../wasm/timing.ts';
import type { Kernels } from './kernels.ts';
import { LARGE_BYTES, StreamTrial } from './stream-trial.ts';

/** What was measured when a carrier was chosen. */
export interface CarrierTiming {
  readonly chosen: string;
  /** Microseconds per call by kernel id, on a small matrix in the cache. */
  readonly microseconds: Readonly<Record<string, number>>;
}

export interface CarrierReport {
  /** `null`: no relaxed SIMD in this engine, or not asked because `carrier` is 'i16'. */
  readonly relaxedDot: RelaxedDot | null;
  readonly timings: readonly CarrierTiming[];
}

/**
 * Gain of the dot per digit from which kernels are worth timing. Two digits are twice the products; where the dot is several
 * instructions (x86 without AVX-VNNI: gain 0.9 to 1.4) only one digit has a chance.
 */
const WORTH_TIMING = 0.75;
/** From this gain on the dot is one instruction (2.3 to 2.8): i8 is faster with it, and timing could only be wrong. */
const ONE_INSTRUCTION = 2.1;
/** i8 has to take less than this share of i16's time: if they are equal, i16 is kept. */
const CLEARLY = 0.95;
/** What `carrier: 'auto'` stands for. CI runs the tests with either carrier in its place (test/carrier.ts); nothing else sets it. */
export const automatic: { carrier: CarrierChoice } = { carrier: 'auto' };
/** By shape class and the ids of the compared kernels: true for the whole page, whichever model came first. */
const timings = /* @__PURE__ */ new Map<string, CarrierTiming>();

export class Routes {
  readonly #kernels: Kernels;
  readonly #choice: CarrierChoice;
  /** By the id of the kernel to begin with. */
  readonly #trials = new Map<string, StreamTrial>();

  constructor(kernels: Kernels, choice: CarrierChoice) {
    this.#kernels = kernels;
    this.#choice = choice === 'auto' ? automatic.carrier : choice;
  }

  /** The kernel of a kind of matrix; may have to time some. Remember the result. */
  find(format: WeightFormat, variant: WeightVariant, shape: GemmShape, decomposition: Decomposition): GemmOptions {
    const optionsOf = (carrier: CarrierOptions) => {
      const unroll = carrier.id === 'i8' && shape === 'gemv' ? 1 : this.unroll();
      return gemmOptions(shape, format, variant, scaleBlock(decomposition), carrier, unroll);
    };
    const [, carrier] = this.#carriers(format, variant, decomposition);
    if (!carrier) return optionsOf(I16);
    const i8 = optionsOf(carrier);
    if (this.#choice === 'i8') return i8;
    const gain = relaxedDot()?.gain ?? 0;
    // Widening panels may still take longer than multiplying them, if there are few rows.
    if (gain >= ONE_INSTRUCTION && !(shape === 'smallM' && i8.widen)) return i8;
    const i16 = optionsOf(I16);
    if (gain < WORTH_TIMING * digitsOf(decomposition)) return i16;
    const sources = [i16, i8].map((options) => kernelOf(gemmSpec, options));
    const ids = sources.map(({ id }) => id);
    const key = [shape, ...ids].join();
    const known = timings.get(key);
    if (known) return known.chosen === ids[1] ? i8 : i16;
    // Nothing but the calls is timed: a kernel takes a quarter of a microsecond.
    const times = settledTime(this.#kernels.trials(sources, TRIAL_ROWS[shape]));
    const chosen = times[1] < CLEARLY * times[0] ? 1 : 0;
    const microseconds = Object.fromEntries(ids.map((id, i) => [id, 1000 * times[i]]));
    timings.set(key, { chosen: ids[chosen], microseconds });
    return [i16, i8][chosen];
  }

  /** What is compared with a kernel of one row while it is used. @param usedBytes of the memory that its weights lie in */
  streams(options: GemmOptions, usedBytes: number): StreamTrial | undefined {
    const id = gemmId(options);
    const others = usedBytes < LARGE_BYTES || this.#trials.has(id) || !isClockFine() ? [] : otherStreams(options);
    if (others.length > 0) this.#trials.set(id, new StreamTrial([options, ...others]));
    return this.#trials.get(id);
  }

  /** The kernel that won against this one, or itself. */
  settled(options: GemmOptions): GemmOptions {
    const trial = this.#trials.size > 0 ? this.#trials.get(gemmId(options)) : undefined;
    return trial?.chosen === undefined ? options : trial.kernels[trial.chosen];
  }

  /** What multiplies int8 keys and values. */
  cacheCarrier(variant: WeightVariant): CarrierOptions {
    const [, carrier] = this.#carriers(formats.int8, variant, resolveDecomposition({}, 'attention'));
    const isFast = this.#choice === 'i8' || (relaxedDot()?.gain ?? 0) >= ONE_INSTRUCTION;
    return carrier && isFast ? carrier : I16;
  }

  /** Every tile of every carrier that can run, for a search. */
  candidates(
    format: WeightFormat,
    variant: WeightVariant,
    shape: GemmShape,
    decomposition: Decomposition,
  ): GemmOptions[] {
    return this.#carriers(format, variant, decomposition).flatMap((carrier) =>
      tileCandidates(shape, format, variant, scaleBlock(decomposition), carrier),
    );
  }

  get report(): CarrierReport {
    return { relaxedDot: this.#choice === 'i16' ? null : relaxedDot(), timings: [...timings.values()] };
  }

  #carriers(format: WeightFormat, variant: WeightVariant, decomposition: Decomposition): CarrierOptions[] {
    const relaxed = this.#choice === 'i16' || !fitsI8(variant) ? null : relaxedDot();
    if (!relaxed || (format.operandBits === 8 && !relaxed.byteOperand)) return [I16];
    return [I16, { id: 'i8', digits: digitsOf(decomposition), operand: relaxed.byteOperand }];
  }

  /**
   * The number of steps per turn of tiles of several rows. Where the engine keeps their order, fewer turns gain 5 %. Where it loads
   * the operands of all steps first, it runs out of registers: two steps take 1.27 times as long.
   */
  unroll(): Unroll {
    return keepsOrder() ? 2 : 1;
  }
}

const scaleBlock = ({ activationBlock }: Decomposition): 256 | 32 => (activationBlock === 32 ? 32 : 256);
