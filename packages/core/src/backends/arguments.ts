/** The public edge of matmul: shapes are checked here once, for every backend. */
import { activationIds } from '../activations/contract.ts';
import { type Plan, resolvePlan } from '../decompose/contract.ts';
import type { ArenaHandle } from './arena.ts';
import type {
  ActivationOptions,
  Backend,
  MatmulManyOptions,
  PreparedMatrix,
  PreparedWeights,
  ProductOptions,
} from './backend.ts';

export type Operand = Float32Array | ArenaHandle;

/** What a backend takes besides typed arrays. */
export interface OperandKind<Handle> {
  readonly name: string;
  is(operand: object): operand is object & Handle;
}

const arenaHandle: OperandKind<ArenaHandle> = {
  name: 'an arena handle',
  is: (operand): operand is ArenaHandle => 'arena' in operand && 'ptr' in operand,
};

/** Anything with bytes: arrays, and handles of every kind. */
interface Bytes {
  readonly byteLength: number;
}

const floats = ({ byteLength }: Bytes): number => Math.floor(byteLength / 4);

const describe = (value: unknown): string =>
  value === null ? 'null' : ((value as object | undefined)?.constructor?.name ?? typeof value);

function checkKind(name: string, operand: unknown, { name: other, is }: OperandKind<unknown>): void {
  const isHandle = typeof operand === 'object' && operand !== null && is(operand);
  if (!(operand instanceof Float32Array) && !isHandle)
    throw new TypeError(`matmul: ${name} expected a Float32Array or ${other}, got ${describe(operand)}.`);
}

/** @returns M and the plan, once x fits the matrix */
export function checkActivations(
  backend: object,
  x: Bytes,
  prepared: PreparedMatrix & { readonly backend: object },
  options: ActivationOptions,
  kind: OperandKind<unknown> = arenaHandle,
): { M: number; plan: Plan } {
  if (prepared.backend !== backend)
    throw new RangeError('matmul: the weights were prepared by another backend. Prepare them with this one.');
  const plan = resolvePlan(options, 'matmul');
  const { M: rows } = options;
  checkKind('x', x, kind);
  const { K } = prepared;
  const M = rows ?? floats(x) / K;
  if (!Number.isSafeInteger(M) || M < 0)
    throw new RangeError(
      `matmul: x expected whole rows of K=${K} values, got ${rows === undefined ? `${floats(x)} values` : `M=${rows}`}.`,
    );
  if (floats(x) < M * K || (rows === undefined && floats(x) !== M * K))
    throw new RangeError(`matmul: x expected ${M * K} values for [M=${M},K=${K}], got ${floats(x)}.`);
  return { M, plan };
}

/** @returns what happens to each product, once every matrix fits x and has its options */
export function checkMany(
  backend: Backend,
  x: Operand,
  prepared: readonly PreparedWeights[],
  { each, ...options }: MatmulManyOptions,
): readonly ProductOptions[] {
  if (each && each.length !== prepared.length)
    throw new RangeError(`matmulMany: each expected ${prepared.length} options, one per matrix, got ${each.length}.`);
  const products = each ?? prepared.map(() => ({}));
  prepared.forEach((matrix, i) => {
    const { M } = checkActivations(backend, x, matrix, options);
    checkProduct(matrix, M, products[i]);
    if (matrix.K !== prepared[0].K)
      throw new RangeError(`matmulMany: matrix ${i} expected K=${prepared[0].K} like the first one, got ${matrix.K}.`);
  });
  return products;
}

/** Checks everything that is not x. */
export function checkProduct<Handle extends Bytes = ArenaHandle>(
  { N }: PreparedMatrix,
  M: number,
  options: ProductOptions<Handle>,
  kind: OperandKind<unknown> = arenaHandle,
  overlap: (a: Float32Array | Handle, b: Float32Array | Handle, bytes: number) => boolean = overlapInPart,
): void {
  const { bias, activation, multiply, residual, out } = options;
  if (bias !== undefined) {
    checkKind('bias', bias, kind);
    if (floats(bias) !== N) throw new RangeError(`matmul: bias expected ${N} values, got ${floats(bias)}.`);
  }
  if (activation !== undefined && !activationIds.includes(activation))
    throw new RangeError(`matmul: activation expected one of ${activationIds.join(', ')}, got ${String(activation)}.`);
  for (const [name, operand] of Object.entries({ multiply, residual, out })) {
    if (operand === undefined) continue;
    checkKind(name, operand, kind);
    if (floats(operand) < M * N || (operand instanceof Float32Array && operand.length !== M * N))
      throw new RangeError(`matmul: ${name} expected ${M * N} values for [M=${M},N=${N}], got ${floats(operand)}.`);
    if (name !== 'out' && out !== undefined && overlap(operand, out, 4 * M * N))
      throw new RangeError(
        `matmul: ${name} expected to be out itself or to lie apart from it, got overlapping memory.`,
      );
  }
}

/** Do the two share bytes without being the same ones? */
function overlapInPart(a: Bytes, b: Bytes, bytes: number): boolean {
  const [first, second] = ([a, b] as Operand[]).map((operand) =>
    operand instanceof Float32Array
      ? { buffer: operand.buffer, start: operand.byteOffset }
      : { buffer: operand.arena.memory.buffer, start: operand.ptr },
  );
  const distance = Math.abs(first.start - second.start);
  return first.buffer === second.buffer && distance > 0 && distance < bytes;
}
