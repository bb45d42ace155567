/** Checks of what callers of `matmul` pass: once, for every backend. */
import { activationIds } from '../activations/contract.ts';
import { type Decomposition, resolveDecomposition } from '../decompose/contract.ts';
import { UnsupportedError } from '../errors.ts';
import { type FloatType, floatBytes, type HalfArray, isFloat16Array } from '../formats/half.ts';
import type { ArenaHandle } from './arena.ts';
import type { ActivationOptions, PreparedMatrix, ProductOptions } from './backend.ts';

/** What a backend takes besides typed arrays. */
export interface OperandKind<Handle> {
  readonly name: string;
  /** May x and `out` be half precision? */
  readonly half: boolean;
  is(operand: object): operand is object & Handle;
  /** The memory that it lies in, and the place of its first byte there. */
  place(operand: Handle): Place;
}

interface Place {
  readonly buffer: object;
  readonly begin: number;
}

export const arenaHandle: OperandKind<ArenaHandle> = {
  name: 'an arena handle',
  half: true,
  is: (operand): operand is ArenaHandle => 'arena' in operand && 'ptr' in operand,
  place: ({ arena, ptr }) => ({ buffer: arena.memory.buffer, begin: ptr }),
};

/** For messages: the classes that hold a type. */
const holders: Readonly<Record<FloatType, string>> = {
  f32: 'a Float32Array',
  f16: 'a Uint16Array of bits, a Float16Array',
  bf16: 'a Uint16Array of bits',
};

/** Anything with bytes: arrays, and handles of every kind. */
interface Bytes {
  readonly byteLength: number;
}

const lengthOf = ({ byteLength }: Bytes, type: FloatType): number => Math.floor(byteLength / floatBytes(type));

/** For messages: what a value is. */
export const describe = (value: unknown): string =>
  value === null ? 'null' : ((value as object | undefined)?.constructor?.name ?? typeof value);

export const isHandle = (operand: unknown, { is }: OperandKind<unknown>): boolean =>
  typeof operand === 'object' && operand !== null && is(operand);

const isHalf = (operand: unknown): operand is HalfArray => operand instanceof Uint16Array || isFloat16Array(operand);

/**
 * What x or `out` holds: `type`, or what its class says.
 * @throws {@link TypeError} if its class cannot hold that; {@link UnsupportedError} if the backend has f32 only
 */
export function typeOf(
  name: 'x' | 'out',
  operand: unknown,
  type: FloatType | undefined,
  kind: OperandKind<unknown> = arenaHandle,
): FloatType {
  if (type !== undefined && !Object.hasOwn(holders, type))
    throw new RangeError(`matmul: ${name}Type expected f32, f16 or bf16, got ${String(type)}.`);
  const holds = type ?? (isFloat16Array(operand) ? 'f16' : 'f32');
  if (!kind.half && (holds !== 'f32' || isHalf(operand)))
    throw new UnsupportedError(
      `matmul: ${name} expected a Float32Array or ${kind.name}, got half precision, which the wasm and reference backends take.`,
    );
  const fits = holds === 'f32' ? operand instanceof Float32Array : isHalf(operand);
  const isBits = operand instanceof Uint16Array;
  if ((fits && (holds !== 'bf16' || isBits)) || isHandle(operand, kind)) return holds;
  if (name === 'out' && operand === undefined) return holds;
  const asked = type ? ` for ${name}Type '${type}'` : '';
  const hint = !type && isBits ? ` Are these bits? Say ${name}Type: 'f16' or ${name}Type: 'bf16'.` : '';
  throw new TypeError(
    `matmul: ${name} expected ${holders[holds]} or ${kind.name}${asked}, got ${describe(operand)}.${hint}`,
  );
}

function checkF32(name: string, operand: unknown, kind: OperandKind<unknown>): void {
  if (operand instanceof Float32Array || isHandle(operand, kind)) return;
  const hint = kind.half && isHalf(operand) ? ' Only x and out may be half precision.' : '';
  throw new TypeError(`matmul: ${name} expected a Float32Array or ${kind.name}, got ${describe(operand)}.${hint}`);
}

/** @returns M, the decomposition and what x holds, once x fits the matrix */
export function checkActivations(
  backend: object,
  x: Bytes,
  prepared: PreparedMatrix & { readonly backend: object },
  options: ActivationOptions,
  kind: OperandKind<unknown> = arenaHandle,
): { M: number; decomposition: Decomposition; xType: FloatType } {
  if (prepared.backend !== backend)
    throw new RangeError('matmul: the weights were prepared by another backend. Prepare them with this one.');
  const decomposition = resolveDecomposition(options, 'matmul');
  const { M: rows } = options;
  const xType = typeOf('x', x, options.xType, kind);
  const { K } = prepared;
  const length = lengthOf(x, xType);
  const M = rows ?? length / K;
  if (!Number.isSafeInteger(M) || M < 0)
    throw new RangeError(
      `matmul: x expected whole rows of K=${K} values, got ${rows === undefined ? `${length} values` : `M=${rows}`}.`,
    );
  if (length < M * K || (rows === undefined && length !== M * K))
    throw new RangeError(`matmul: x expected ${M * K} values for [M=${M},K=${K}], got ${length}.`);
  return { M, decomposition, xType };
}

/** @returns what {@link checkActivations} does, and what happens to each product, once every matrix fits x and has its options */
export function checkMany<Handle extends Bytes = ArenaHandle>(
  backend: object,
  x: Bytes,
  prepared: readonly (PreparedMatrix & { readonly backend: object })[],
  { each, ...options }: ActivationOptions & { readonly each?: readonly ProductOptions<Handle>[] | undefined },
  kind: OperandKind<Handle> = arenaHandle as unknown as OperandKind<Handle>,
): ReturnType<typeof checkActivations> & { readonly products: readonly ProductOptions<Handle>[] } {
  if (each && each.length !== prepared.length)
    throw new RangeError(`matmulMany: each expected ${prepared.length} options, one per matrix, got ${each.length}.`);
  const products = each ?? prepared.map(() => ({}));
  const activations = prepared.map((matrix, i) => {
    if (matrix.K !== prepared[0].K)
      throw new RangeError(`matmulMany: matrix ${i} expected K=${prepared[0].K} like the first one, got ${matrix.K}.`);
    const checked = checkActivations(backend, x, matrix, options, kind as OperandKind<unknown>);
    checkProduct<Handle>(matrix, checked.M, products[i], kind);
    return checked;
  });
  return { ...activations[0], products };
}

/** Checks everything that is not x. */
export function checkProduct<Handle extends Bytes = ArenaHandle>(
  { N }: PreparedMatrix,
  M: number,
  options: ProductOptions<Handle>,
  kind: OperandKind<Handle> = arenaHandle as unknown as OperandKind<Handle>,
): void {
  const { bias, activation, multiply, residual, out } = options;
  if (bias !== undefined) {
    checkF32('bias', bias, kind);
    if (lengthOf(bias, 'f32') !== N)
      throw new RangeError(`matmul: bias expected ${N} values, got ${lengthOf(bias, 'f32')}.`);
  }
  if (activation !== undefined && !activationIds.includes(activation))
    throw new RangeError(`matmul: activation expected one of ${activationIds.join(', ')}, got ${String(activation)}.`);
  const outType = typeOf('out', out, options.outType, kind);
  if (out !== undefined) checkLength('out', out, outType, M, N);
  if (multiply === undefined && residual === undefined) return;
  const placeOf = (operand: Float32Array | HalfArray | Handle): Place =>
    ArrayBuffer.isView(operand) ? { buffer: operand.buffer, begin: operand.byteOffset } : kind.place(operand as Handle);
  for (const [name, operand] of Object.entries({ multiply, residual })) {
    if (operand === undefined) continue;
    checkF32(name, operand, kind);
    checkLength(name, operand, 'f32', M, N);
    if (out === undefined) continue;
    const [own, its] = [placeOf(operand), placeOf(out)];
    if (own.buffer !== its.buffer) continue;
    const written = { begin: its.begin, byteLength: floatBytes(outType) * M * N };
    checkApart(name, { begin: own.begin, byteLength: 4 * M * N }, written, outType);
  }
}

interface ByteRange {
  readonly begin: number;
  readonly byteLength: number;
}

/** An operand may be `out` itself, if both are f32, and has to lie apart from it otherwise. @throws {@link RangeError} if not */
export function checkApart(name: string, own: ByteRange, out: ByteRange, outType: FloatType): void {
  if (own.begin >= out.begin + out.byteLength || out.begin >= own.begin + own.byteLength) return;
  if (outType === 'f32' && own.begin === out.begin) return;
  const expected =
    outType === 'f32' ? 'to be out itself or to lie apart from it' : `to lie apart from an out of ${outType}`;
  throw new RangeError(`matmul: ${name} expected ${expected}, got overlapping memory.`);
}

function checkLength(name: string, operand: Bytes, type: FloatType, M: number, N: number): void {
  const length = lengthOf(operand, type);
  if (length < M * N || (ArrayBuffer.isView(operand) && length !== M * N))
    throw new RangeError(`matmul: ${name} expected ${M * N} values for [M=${M},N=${N}], got ${length}.`);
}
