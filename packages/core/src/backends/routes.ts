/**
 * Which kernels a matmul takes: the carrier by probing and timing, once per kind of matrix and shape class and page. Every
 * route gives the same bits.
 */
import type { ActivationId } from '../activations/contract.ts';
import type { Plan } from '../decompose/contract.ts';
import { decomposeId, decomposeKernel } from '../decompose/decompose.wasm.ts';
import { widenId, widenKernel } from '../decompose/widen.wasm.ts';
import { K_BLOCK, type WeightFormat, type WeightVariant } from '../formats/format.ts';
import type { HalfType } from '../formats/half.ts';
import { type CarrierOptions, digitsOf, fitsI8, I16, operandsOf } from '../gemm/carriers.ts';
import { type GemmOptions, gemmId, gemmKernel } from '../gemm/gemm.wasm.ts';
import { type GemmShape, gemmOptions, tileCandidates, type Unroll } from '../gemm/registry.ts';
import { endId, endKernel } from '../recombine/end.wasm.ts';
import { narrowId, narrowKernel } from '../recombine/narrow.wasm.ts';
import type { Arena } from './arena.ts';
import { type CarrierChoice, type RelaxedDot, relaxedDot } from './features.ts';
import { type Kernel, Kernels } from './kernels.ts';
import type { Team } from './threads/team.ts';
import { settledTime } from './timing.ts';

export interface Route {
  readonly options: GemmOptions;
  readonly decompose: Kernel;
  readonly gemm: Kernel;
}

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
/** Gain of a dot that is one instruction (2.3 to 2.8): i8 wins with it, and timing could only be mistaken. */
const ONE_INSTRUCTION = 2.1;
/** Share of i16's time that i8 has to stay below: a draw stays with i16. */
const CLEARLY = 0.95;
/** What `carrier: 'auto'` stands for. CI runs the tests with either carrier in its place (test/carrier.ts); nothing else sets it. */
export const automatic: { carrier: CarrierChoice } = { carrier: 'auto' };
const timings = /* @__PURE__ */ new Map<string, CarrierTiming>();
let unroll: Unroll | undefined;
/** Rows of the small matrix that kernels are warmed and timed on. */
const TRIAL_ROWS: Readonly<Record<GemmShape, number>> = { gemv: 1, smallM: 4, gemm: 12 };

export class Routes {
  readonly #arena: Arena;
  readonly #kernels: Kernels;
  readonly #choice: CarrierChoice;

  constructor(arena: Arena, choice: CarrierChoice, team: Team) {
    this.#arena = arena;
    this.#kernels = new Kernels(arena, team);
    this.#choice = choice === 'auto' ? automatic.carrier : choice;
  }

  /** Emits, compiles and warms what is needed; remember the result. */
  find(format: WeightFormat, variant: WeightVariant, shape: GemmShape, plan: Plan): Route {
    return this.#route(this.#options(format, variant, shape, plan), shape, plan);
  }

  /** Every tile of every carrier that can run, for a search. */
  candidates(format: WeightFormat, variant: WeightVariant, shape: GemmShape, plan: Plan): Route[] {
    const options = this.#carriers(format, variant, plan).flatMap((carrier) =>
      tileCandidates(shape, format, variant, scaleBlock(plan), carrier),
    );
    return this.#stable(() => options.map((candidate) => this.#route(candidate, shape, plan)));
  }

  /** The arena has moved to another memory: forgets the instances on the old one. */
  forget(): void {
    this.#kernels.forget();
  }

  /** A forgotten route, on the memory that the arena has now. */
  renew({ options }: Route, shape: GemmShape, plan: Plan): Route {
    return this.#route(options, shape, plan);
  }

  /** The fused end; `undefined` is one without activation. */
  end(activation: ActivationId | undefined): Kernel {
    return this.#kernels.get(
      endId(activation),
      (module) => endKernel(module, activation),
      (run, at) => run(at, 1024, at + 8192, 1024, at + 16384, 1024, 8, 64),
    );
  }

  /** Half precision to f32. */
  widen(type: HalfType): Kernel {
    return this.#kernels.get(
      widenId(type),
      (module) => widenKernel(module, type),
      (run, at) => run(at, at + 8192, 2048),
    );
  }

  /** f32 to half precision. */
  narrow(type: HalfType): Kernel {
    return this.#kernels.get(
      narrowId(type),
      (module) => narrowKernel(module, type),
      (run, at) => run(at, 1024, at + 8192, 512, 8, 256),
    );
  }

  get report(): CarrierReport {
    return { relaxedDot: this.#choice === 'i16' ? null : relaxedDot(), timings: [...timings.values()] };
  }

  #carriers(format: WeightFormat, variant: WeightVariant, plan: Plan): CarrierOptions[] {
    const relaxed = this.#choice === 'i16' || !fitsI8(variant) ? null : relaxedDot();
    if (!relaxed || (format.bits === 8 && !relaxed.byteOperand)) return [I16];
    return [I16, { id: 'i8', digits: digitsOf(plan), operand: relaxed.byteOperand }];
  }

  #options(format: WeightFormat, variant: WeightVariant, shape: GemmShape, plan: Plan): GemmOptions {
    const optionsOf = (carrier: CarrierOptions) => {
      const unroll = carrier.id === 'i8' && shape === 'gemv' ? 1 : this.#unroll(format, variant, plan);
      return gemmOptions(shape, format, variant, scaleBlock(plan), carrier, unroll);
    };
    const [, carrier] = this.#carriers(format, variant, plan);
    if (!carrier) return optionsOf(I16);
    const i8 = optionsOf(carrier);
    if (this.#choice === 'i8') return i8;
    const gain = relaxedDot()?.gain ?? 0;
    // To widen panels for few rows may still take longer than to multiply them.
    if (gain >= ONE_INSTRUCTION && !(shape === 'smallM' && i8.widen)) return i8;
    const i16 = optionsOf(I16);
    if (gain < WORTH_TIMING * digitsOf(plan)) return i16;
    const ids = [i16, i8].map(gemmId);
    const known = timings.get(ids.join());
    if (known) return known.chosen === ids[1] ? i8 : i16;
    const times = this.#time([i16, i8], shape, plan);
    const chosen = times[1] < CLEARLY * times[0] ? 1 : 0;
    const microseconds = Object.fromEntries(ids.map((id, i) => [id, 1000 * times[i]]));
    timings.set(ids.join(), { chosen: ids[chosen], microseconds });
    return [i16, i8][chosen];
  }

  /**
   * Steps per turn that the engine runs tiles of several rows fastest with, asked once per page. V8 from 13 on keeps their order, and
   * fewer turns gain 5 %; older ones load the operands of all steps first and run out of registers: eight take twice as long.
   */
  #unroll(format: WeightFormat, variant: WeightVariant, plan: Plan): Unroll {
    if (unroll) return unroll;
    const tile = gemmOptions('gemm', format, variant, scaleBlock(plan));
    const [one, eight] = this.#time([tile, { ...tile, kUnroll: 8 }], 'gemm', plan, 3);
    unroll = eight < 1.25 * one ? 2 : 1;
    return unroll;
  }

  #time(options: readonly GemmOptions[], shape: GemmShape, plan: Plan, rounds?: number): number[] {
    const zeros = this.#arena.alloc(65536, 'trial');
    const kernels = this.#stable(() => options.map((candidate) => this.#route(candidate, shape, plan).gemm));
    this.#arena.bytes(zeros).fill(0);
    const runs = kernels.map((kernel) => trialOf(kernel, zeros.ptr, shape));
    const times = settledTime(runs, rounds);
    this.#arena.free(zeros);
    return times;
  }

  #route(options: GemmOptions, shape: GemmShape, plan: Plan): Route {
    const operands = operandsOf(options.carrier ?? I16);
    return this.#stable(() => ({
      options,
      decompose: this.#kernels.get(
        decomposeId(plan, operands),
        (module) => decomposeKernel(module, plan, operands),
        (run, at) => run(at, at + 8192, at + 16384, at + 20480, 32, 8, K_BLOCK),
      ),
      gemm: this.#kernels.get(
        gemmId(options),
        (module) => gemmKernel(module, options),
        (run, at) => trialOf(run, at, shape)(),
      ),
    }));
  }

  /** Making a kernel may move the arena to another memory, which ends those made before: then all are made once more. */
  #stable<T>(make: () => T): T {
    for (;;) {
      const { memory } = this.#arena;
      const made = make();
      if (memory === this.#arena.memory) return made;
    }
  }
}

/** Four panels x 256 k of any format, on 64 KiB of zeros. Nothing but the call is timed: a kernel takes a quarter of a microsecond. */
function trialOf(kernel: Kernel, at: number, shape: GemmShape): () => void {
  const [q, sums, xScale, wScale, y, w, scratch] = [0, 8192, 10240, 12288, 13312, 16384, 49152].map((o) => at + o);
  const rows = TRIAL_ROWS[shape];
  return () => kernel(q, sums, xScale, w, wScale, 0, y, 256, scratch, rows, K_BLOCK, 4, 0, 4);
}

const scaleBlock = ({ activationBlock }: Plan): 256 | 32 => (activationBlock === 32 ? 32 : 256);
