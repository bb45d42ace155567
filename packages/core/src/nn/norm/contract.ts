/**
 * norm: LayerNormalization, RMSNormalization (SimplifiedLayerNormalization), and both of a sum (the Skip… forms).
 *
 *   z = x;  z = fl(x + skip);  z = fl(z + skipBias)                                    as far as they are there
 *   layer   mean = fl(Σ z / n);  d = fl(z − mean);  var = fl(Σ fl(d·d) / n)
 *   rms                          d = z;             var = fl(Σ fl(d·d) / n)
 *   invStdDev = fl(1 / fl(√ fl(var + ε)))
 *   y = fl(d·invStdDev);  y = fl(y·scale);  y = fl(y + bias)                           as far as they are there
 *
 * Sums over the n elements of the last `axes` axes, in the order of rows.ts. A square beyond the range of f32 makes var infinite,
 * as in ONNX Runtime: y is then 0 (NaN where z is infinite, and all of the row for layer). Rows of zeros give 0 or bias if ε > 0,
 * NaN without. A NaN makes its row NaN and no other. How near y is to the mathematics: bound.ts.       (docs/nn.md, "Row reductions")
 */
import { elementCount, type TensorType } from '../../ops/op.ts';
import { refuse } from '../refuse.ts';
import { checkAxes, type RowShape, rowShape } from '../rows.ts';

/** Inputs: x, scale?, bias?, skip?, skipBias?. Outputs: y, then those asked for, in the order of the names below. */
export interface NormOp {
  readonly kind: 'layer' | 'rms';
  /** How many trailing axes are normalized together. Default 1. */
  readonly axes?: number | undefined;
  /** Rounded to f32. */
  readonly epsilon: number;
  /** Of 'layer' only. */
  readonly mean?: boolean | undefined;
  readonly invStdDev?: boolean | undefined;
  /** z: only with skip. */
  readonly sum?: boolean | undefined;
}

/** The extra outputs, in order. */
export const normExtras = ({ mean, invStdDev, sum }: NormOp): ('mean' | 'invStdDev' | 'sum')[] => [
  ...(mean ? (['mean'] as const) : []),
  ...(invStdDev ? (['invStdDev'] as const) : []),
  ...(sum ? (['sum'] as const) : []),
];

export interface NormShape extends RowShape {
  /** Rows of `skip` before it starts anew. */
  readonly skipRows: number;
}

type Types = readonly (TensorType | undefined)[];

export function normShape({ axes = 1 }: NormOp, [x, , , skip]: Types): NormShape {
  const shape = rowShape(x!.dims, axes);
  return { ...shape, skipRows: skip && shape.n > 0 ? Math.max(1, elementCount(skip.dims) / shape.n) : 1 };
}

/** In the order of the inputs. */
export const INPUTS = ['x', 'scale', 'bias', 'skip', 'skipBias'] as const;

export function inferNorm(op: NormOp, inputs: Types): readonly TensorType[] {
  const { kind, axes = 1, epsilon } = op;
  const [x, scale, bias, skip, skipBias] = inputs;
  if (!x) return refuse('norm', 'x', 'a tensor', 'none');
  INPUTS.forEach((name, i) => {
    const dtype = inputs[i]?.dtype ?? 'f32';
    if (dtype !== 'f32') refuse('norm', name, 'f32', dtype);
  });
  checkAxes('norm', axes, x.dims);
  if (!(epsilon >= 0 && Number.isFinite(epsilon))) refuse('norm', 'epsilon', 'a finite number ≥ 0', epsilon);
  const normalized = x.dims.slice(-axes);
  for (const [name, type] of Object.entries({ scale, bias, skipBias }))
    if (type && !(endsWith(normalized, type.dims) && endsWith(type.dims, normalized)))
      refuse('norm', name, `[${normalized}] for x [${x.dims}]`, `[${type.dims}]`);
  if (skip && !(endsWith(x.dims, skip.dims) && endsWith(skip.dims, normalized)))
    refuse('norm', 'skip', `[${x.dims}], or fewer or 1 of its leading axes`, `[${skip.dims}]`);
  if (skipBias && !skip) refuse('norm', 'skipBias', 'none without skip', `[${skipBias.dims}]`);
  if (op.sum && !skip) refuse('norm', 'sum', 'false without skip', 'true');
  if (op.mean && kind === 'rms') refuse('norm', 'mean', "false for 'rms'", 'true');

  const perRow = [...x.dims.slice(0, -axes), ...normalized.map(() => 1)];
  const dims = { mean: perRow, invStdDev: perRow, sum: x.dims };
  return [x.dims, ...normExtras(op).map((name) => dims[name])].map((of) => ({ dtype: 'f32', dims: of }));
}

/** `all` ends with `dims`; ones in front of `dims` do not count. */
function endsWith(all: readonly number[], dims: readonly number[]): boolean {
  const first = dims.findIndex((dim) => dim !== 1);
  const tail = first < 0 ? [] : dims.slice(first);
  return tail.length <= all.length && tail.every((dim, i) => dim === all[all.length - tail.length + i]);
}
