/**
 * A family of kernels as a value: everything that dispatch, warm-up, tests and benchmarks need to know about it.
 *
 *   const spec: KernelSpec<{ tile: number }, 'x' | 'y' | 'M'> = { family: 'copy', args: ['x', 'y', 'M'], ... };
 *   kernelCall(spec, { tile: 4 }, { x: operand(0), y: operand(1), M: rows() });
 *
 * A kernel takes i32 arguments only: addresses, counts, strides in bytes, f32 values as bit patterns. It returns nothing.
 */
import type { Module } from './wasm/emitter.ts';

export interface KernelSpec<P, A extends string = string> {
  /** The name of the family: 'gemm', 'decompose', 'elementwise'. */
  readonly family: string;
  /**
   * Names of the arguments in the kernel's order, which may depend on the parameters. Nothing else knows that order.
   */
  readonly args: readonly A[] | ((params: P) => readonly A[]);
  /** Name of the one function that `emit` writes; different parameters have different ids. */
  id(params: P): string;
  emit(module: Module, params: P): void;
  /**
   * Arguments of a small call on 64 KiB of zeros at `at`: warms the kernel and times it.
   * @param rows how many rows it has, for families that are timed at several numbers of rows. Default: the family's
   * choice
   */
  trial(params: P, at: number, rows?: number): Readonly<Record<A, number>>;
  /** Writes the words that are not zero in the trial's memory, for kernels that read from memory what to do. */
  fill?(words: Int32Array, at: number): void;
}

/** One kernel of a family, with its parameters chosen. */
export interface KernelSource {
  readonly id: string;
  emit(module: Module): void;
  /** Arguments of the trial call at an address, in the kernel's order. */
  trial(at: number, rows?: number): number[];
  /** Words of the trial's memory, all 0 so far. @param at its address */
  fill?(words: Int32Array, at: number): void;
}

/**
 * An argument whose value is known when operands have addresses and a thread has its chunk. It is linear in all of
 * them, so every thread can compute the arguments of its chunk.
 */
export interface Arg {
  /** Operand whose address is added: inputs first, then outputs. An absent optional operand has address 0. */
  readonly operand?: number | undefined;
  /** The call's own scratch, whose address is added. */
  readonly scratch?: true | undefined;
  /** A number to add: a byte offset, a count, a bit pattern. */
  readonly value?: number | undefined;
  /** Added for every row before the chunk: a row stride in bytes. 0 for an absent operand. */
  readonly perRow?: number | undefined;
  /** Added for every row of the chunk: 1 is "how many rows". */
  readonly rows?: number | undefined;
  /** Added for every thread before this one: bytes of scratch that each thread has for itself. */
  readonly perThread?: number | undefined;
  /**
   * The same along columns, along which products are cut in panels of 16: for every panel before the chunk, and for
   * every panel of the chunk.
   */
  readonly perPanel?: number | undefined;
  readonly panels?: number | undefined;
}

/** One kernel call of an op. Addresses are still open. */
export interface KernelCall extends KernelSource {
  /** In the kernel's order. */
  readonly args: readonly Arg[];
  /**
   * Rows that threads may share, and how many multiplications one row is worth. Absent: one thread does all the work.
   */
  readonly share: { readonly rows: number; readonly macsPerRow: number } | undefined;
}

/** Names of the arguments of one kernel, in its order. */
export const argsOf = <P, A extends string>({ args }: Pick<KernelSpec<P, A>, 'args'>, params: P): readonly A[] =>
  typeof args === 'function' ? args(params) : args;

/** Arguments by name in the kernel's order. */
export const argumentList = <P, A extends string, T>(
  spec: Pick<KernelSpec<P, A>, 'args'>,
  params: P,
  named: Readonly<Record<A, T>>,
): T[] => argsOf(spec, params).map((name) => named[name]);

export const kernelOf = <P, A extends string>(spec: KernelSpec<P, A>, params: P): KernelSource => ({
  id: spec.id(params),
  emit: (module) => spec.emit(module, params),
  trial: (at, rows) => argumentList(spec, params, spec.trial(params, at, rows)),
  ...(spec.fill && { fill: spec.fill }),
});

/** A family without the type of its parameters: for lists of families. */
export interface KernelFamily {
  readonly family: string;
  /** All that ship. */
  kernels(): Iterable<KernelSource>;
}

/** @param variants the parameters that ship; no part of a spec, because pages do without them */
export const familyOf = <P, A extends string>(spec: KernelSpec<P, A>, variants: () => Iterable<P>): KernelFamily => ({
  family: spec.family,
  *kernels() {
    for (const params of variants()) yield kernelOf(spec, params);
  },
});

/** A call of one kernel of a family. @param args one for each name of the spec */
export function kernelCall<P, A extends string>(
  spec: KernelSpec<P, A>,
  params: P,
  args: Readonly<Record<A, Arg | number>>,
  share?: KernelCall['share'],
): KernelCall {
  const list = argumentList<P, A, Arg | number>(spec, params, args);
  return {
    ...kernelOf(spec, params),
    args: list.map((arg): Arg => (typeof arg === 'number' ? { value: arg } : arg)),
    share,
  };
}

/** Kernels with more arguments run on the calling thread only. */
export const MAX_ARGS = 32;

/** A kernel's parameters for the emitter. */
export const i32Params = <A extends string>(args: readonly A[]): Record<A, 'i32'> =>
  Object.fromEntries(args.map((name) => [name, 'i32'])) as Record<A, 'i32'>;
