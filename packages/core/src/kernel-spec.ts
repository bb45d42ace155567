/**
 * A family of kernels as a value: everything that dispatch, warm-up, tests and benchmarks have to know about it, in one place.
 *
 *   const spec: KernelSpec<{ tile: number }, 'x' | 'y' | 'M'> = { family: 'copy', args: ['x', 'y', 'M'], ... };
 *   kernelCall(spec, { tile: 4 }, { x: operand(0), y: operand(1), M: rows() });
 *
 * A kernel takes i32 arguments only: addresses, counts, strides in bytes, f32 values as bit patterns. It returns nothing.
 */
import type { Module } from './wasm/emitter.ts';

export interface KernelSpec<P, A extends string = string> {
  /** Of all kernels that this spec emits: 'gemm', 'decompose', 'elementwise'. */
  readonly family: string;
  /** Names of the arguments, in the kernel's order, if need be by parameters. Nobody else knows that order. */
  readonly args: readonly A[] | ((params: P) => readonly A[]);
  /** Name of the one function that `emit` writes; different parameters have different ids. */
  id(params: P): string;
  emit(module: Module, params: P): void;
  /**
   * Arguments of a small call on 64 KiB of zeros at `at`: warms the kernel and times it.
   * @param rows how many rows it has, for families that are compared at several numbers of them. Default: the family's choice
   */
  trial(params: P, at: number, rows?: number): Readonly<Record<A, number>>;
  /** Words that the trial's memory has to hold beside zeros, by their place: of kernels that are told in memory what to do. */
  fill?(words: Int32Array, at: number): void;
  /** The parameters that ship: tests and benchmarks loop over them. */
  variants(): Iterable<P>;
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
 * An argument whose value is known once operands have addresses and a thread has its chunk. Linear in all of them, so a chunk's
 * arguments are computed wherever it runs.
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
  /** The same along columns, which products are cut along in panels of 16: for every panel before the chunk, and of it. */
  readonly perPanel?: number | undefined;
  readonly panels?: number | undefined;
}

/** One kernel call of an op. Addresses are still open. */
export interface KernelCall extends KernelSource {
  /** In the kernel's order. */
  readonly args: readonly Arg[];
  /** Rows that threads may share, and how many multiplications one of them is worth. Absent: one thread does it all. */
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

/** A family whose parameters nobody asks for: for lists of families. */
export interface KernelFamily {
  readonly family: string;
  /** All that ship. */
  kernels(): Iterable<KernelSource>;
}

export const familyOf = <P, A extends string>(spec: KernelSpec<P, A>): KernelFamily => ({
  family: spec.family,
  *kernels() {
    for (const params of spec.variants()) yield kernelOf(spec, params);
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

/** More arguments than these are not handed to other threads. */
export const MAX_ARGS = 32;

/** A kernel's parameters for the emitter. */
export const i32Params = <A extends string>(args: readonly A[]): Record<A, 'i32'> =>
  Object.fromEntries(args.map((name) => [name, 'i32'])) as Record<A, 'i32'>;
