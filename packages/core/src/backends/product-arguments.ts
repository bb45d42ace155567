/** Operands of a product, checked before a device binds them: the same checks for every device. */
import type { Plan } from '../decompose/contract.ts';
import type { FloatType } from '../formats/half.ts';
import { checkMany, type OperandKind } from './arguments.ts';
import type { PreparedMatrix } from './backend.ts';
import type { ProductEnd, ProductWork } from './device.ts';

/** Operands of each matrix, after x: bias, multiply, residual, out. */
export const OPERANDS_EACH = 4;

/** One matrix's operands. */
export interface ProductOperands<H> extends ProductEnd {
  readonly bias: H | undefined;
  readonly multiply: H | undefined;
  readonly residual: H | undefined;
  readonly out: H;
}

export interface CheckedProducts<H> {
  readonly plan: Plan;
  readonly xType: FloatType;
  readonly x: H;
  readonly products: readonly ProductOperands<H>[];
}

/** @throws {@link TypeError}, {@link RangeError} for matrices and operands that do not go together */
export function checkProductOperands<
  H extends { readonly byteLength: number },
  Matrix extends PreparedMatrix & { readonly backend: object },
>(
  backend: object,
  { kind: _, matrices, each, ...options }: ProductWork<Matrix>,
  operands: readonly (H | undefined)[],
  kind: OperandKind<H>,
): CheckedProducts<H> {
  const expected = 1 + OPERANDS_EACH * matrices.length;
  if (matrices.length === 0) throw new RangeError('bind: a product expected at least one matrix, got none.');
  if (operands.length !== expected)
    throw new RangeError(
      `bind: a product of ${matrices.length} matrices expected ${expected} operands, got ${operands.length}.`,
    );
  const ends: readonly ProductEnd[] = each ?? matrices.map(() => ({}));
  const products = ends.map((end, i): ProductOperands<H> => {
    const [bias, multiply, residual, out] = operands.slice(1 + OPERANDS_EACH * i);
    if (!out) throw new TypeError(`bind: out of matrix ${i} expected ${kind.name}, got undefined.`);
    return { ...end, bias, multiply, residual, out };
  });
  const [x] = operands as readonly H[];
  const { plan, xType } = checkMany(backend, x, matrices, { ...options, each: products }, kind);
  return { plan, xType, x, products };
}
