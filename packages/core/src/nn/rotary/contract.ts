/**
 * rotary: RotaryEmbedding of com.microsoft and of ONNX 23. Of each head's first `rotaryDim` elements, pairs (a, b) are turned:
 *
 *   y_a = fl(fl(a·cos) − fl(b·sin));   y_b = fl(fl(b·cos) + fl(a·sin))        cos, sin [position, j] of the j-th pair
 *
 * The j-th pair is elements j and j + rotaryDim/2, or 2j and 2j + 1 (interleaved); what is past rotaryDim is copied. Each of y_a, y_b is
 * within 2·2⁻²⁴·(|a·cos| + |b·sin|) of the mathematics, as far as nothing underflows.                     (docs/nn.md, "Rotary")
 */
import type { TensorType } from '../../ops/op.ts';
import { refuse } from '../refuse.ts';

/**
 * Inputs: x [batch, sequence, heads·size] or [batch, heads, sequence, size]; cos and sin [positions, rotaryDim/2] with
 * i32 positions [batch, sequence], or [1]: that of the first element of each sequence; or, without positions, cos and sin
 * [batch, sequence, rotaryDim/2]. Output: y like x.
 */
export interface RotaryOp {
  readonly interleaved?: boolean | undefined;
  /** Of an x of three dimensions. Default: as many as cos is wide enough for. */
  readonly heads?: number | undefined;
  /** Default: all of a head. */
  readonly rotaryDim?: number | undefined;
}

export interface RotaryShape {
  readonly batch: number;
  readonly sequence: number;
  readonly heads: number;
  readonly size: number;
  /** Pairs. */
  readonly half: number;
  /** Heads lie outside of the sequence: [batch, heads, sequence, size]. */
  readonly headsFirst: boolean;
  /** Where a position comes from. */
  readonly positions: 'ids' | 'first' | 'token';
  /** Of cos and sin. */
  readonly cacheRows: number;
}

type Types = readonly (TensorType | undefined)[];

/** @throws {@link RangeError} */
export function rotaryShape(op: RotaryOp, [x, cos, sin, positions]: Types): RotaryShape {
  if (!x) return refuse('rotary', 'x', 'a tensor', 'none');
  if (!cos) return refuse('rotary', 'cos', 'a tensor', 'none');
  if (!sin) return refuse('rotary', 'sin', 'a tensor', 'none');
  for (const [name, type] of Object.entries({ x, cos, sin }))
    if (type.dtype !== 'f32') refuse('rotary', name, 'f32', type.dtype);
  const rank = x.dims.length;
  if (rank !== 3 && rank !== 4)
    refuse('rotary', 'x', '[batch, sequence, heads·size] or [batch, heads, sequence, size]', `[${x.dims}]`);
  const headsFirst = rank === 4;
  const width = cos.dims.at(-1) ?? 0;
  const hidden = x.dims[rank - 1];
  const heads = headsFirst ? x.dims[1] : (op.heads ?? hidden / (op.rotaryDim ?? 2 * width));
  if (op.heads !== undefined && op.heads !== heads) refuse('rotary', 'heads', `${heads} for x [${x.dims}]`, op.heads);
  const size = headsFirst ? hidden : hidden / heads;
  if (!(Number.isInteger(heads) && heads >= (headsFirst ? 0 : 1) && Number.isInteger(size)))
    refuse('rotary', 'heads', `a divisor of ${hidden} for x [${x.dims}]`, heads);
  const rotaryDim = op.rotaryDim ?? size;
  if (!(Number.isInteger(rotaryDim / 2) && rotaryDim >= 0 && rotaryDim <= size))
    refuse('rotary', 'rotaryDim', `an even number up to the ${size} of a head`, rotaryDim);

  const [batch, sequence] = [x.dims[0], x.dims[headsFirst ? 2 : 1]];
  const half = rotaryDim / 2;
  const cache = positions ? [cos.dims[0], half] : [batch, sequence, half];
  const expected = positions ? `[positions, ${half}]` : `[${cache}] without positions`;
  for (const [name, { dims }] of Object.entries({ cos, sin }))
    if (!sameDims(dims, cache)) refuse('rotary', name, expected, `[${dims}]`);
  if (positions && positions.dtype !== 'i32') refuse('rotary', 'positions', 'i32', positions.dtype);
  const first = positions && sameDims(positions.dims, [1]);
  if (positions && !first && !sameDims(positions.dims, [batch, sequence]))
    refuse('rotary', 'positions', `[1] or [${batch},${sequence}]`, `[${positions.dims}]`);
  if (cache[0] === 0 && batch * sequence > 0) refuse('rotary', 'cos', 'a position at least', `[${cos.dims}]`);
  return {
    ...{ batch, sequence, heads, size, half, headsFirst },
    positions: first ? 'first' : positions ? 'ids' : 'token',
    cacheRows: positions ? cos.dims[0] : batch * sequence,
  };
}

const sameDims = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((dim, i) => dim === b[i]);

/**
 * For positions that are known before the op runs; one that cos and sin don't have reads their last row.
 * @throws {@link RangeError}
 */
export function checkPositions({ positions, sequence, cacheRows }: RotaryShape, values: Int32Array): void {
  const ahead = positions === 'first' ? sequence - 1 : 0;
  values.forEach((position, i) => {
    if (position < 0 || position + ahead >= cacheRows)
      refuse(
        'rotary',
        `positions[${i}]`,
        `0..${cacheRows - 1 - ahead} for a cos and sin of ${cacheRows} rows`,
        position,
      );
  });
}
