/** The public edge of matmul: shapes are checked here once, for every backend. */
import { type Plan, resolvePlan } from '../decompose/contract.ts';
import type { ArenaHandle } from './arena.ts';
import type { Backend, MatmulOptions, PreparedWeights } from './backend.ts';

export type Operand = Float32Array | ArenaHandle;

const floats = (operand: Operand): number =>
  operand instanceof Float32Array ? operand.length : Math.floor(operand.byteLength / 4);

function checkKind(name: string, operand: unknown): asserts operand is Operand {
  const isHandle = typeof operand === 'object' && operand !== null && 'arena' in operand && 'ptr' in operand;
  if (!(operand instanceof Float32Array) && !isHandle)
    throw new TypeError(
      `matmul: ${name} expected a Float32Array or an arena handle, got ${operand === null ? 'null' : (operand?.constructor?.name ?? typeof operand)}.`,
    );
}

/** @returns M and the plan, once everything fits */
export function checkMatmul(
  backend: Backend,
  x: Operand,
  prepared: PreparedWeights,
  options: MatmulOptions,
): { M: number; plan: Plan } {
  if (prepared.backend !== backend)
    throw new RangeError('matmul: the weights were prepared by another backend. Prepare them with this one.');
  const plan = resolvePlan(options, 'matmul');
  const { M: rows, bias, out } = options;
  checkKind('x', x);
  const { N, K } = prepared;
  const M = rows ?? floats(x) / K;
  if (!Number.isSafeInteger(M) || M < 0)
    throw new RangeError(
      `matmul: x expected whole rows of K=${K} values, got ${rows === undefined ? `${floats(x)} values` : `M=${rows}`}.`,
    );
  if (floats(x) < M * K || (rows === undefined && floats(x) !== M * K))
    throw new RangeError(`matmul: x expected ${M * K} values for [M=${M},K=${K}], got ${floats(x)}.`);
  if (bias !== undefined) {
    checkKind('bias', bias);
    if (floats(bias) !== N) throw new RangeError(`matmul: bias expected ${N} values, got ${floats(bias)}.`);
  }
  if (out !== undefined) {
    checkKind('out', out);
    if (floats(out) < M * N || (out instanceof Float32Array && out.length !== M * N))
      throw new RangeError(`matmul: out expected ${M * N} values for [M=${M},N=${N}], got ${floats(out)}.`);
  }
  return { M, plan };
}
