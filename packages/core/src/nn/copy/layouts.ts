/** ONNX's movements as copies: every function returns the op for one shape. A Reshape, Squeeze or Unsqueeze copies nothing. */
import { elementCount } from '../../ops/op.ts';
import { broadcastDims, broadcastStrides, stridesOf } from '../../ops/strides.ts';
import { type Copy, type CopyPart, checkDims, type Fill, type Place } from './contract.ts';

type Dims = readonly number[];

const dense = (operand: number, dims: Dims): Place => ({ operand, offset: 0, strides: stridesOf(dims) });
const one = (dims: Dims, from: Place | Fill, result: Dims = dims): Copy => ({
  outputs: [result],
  parts: [{ dims, from, to: dense(0, result) }],
});

/** An axis from the front. @throws {@link RangeError} */
function axisOf(where: string, axis: number, rank: number): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank)
    throw new RangeError(`${where}: axis expected ${-rank}..${rank - 1}, got ${axis}.`);
  return axis < 0 ? axis + rank : axis;
}

/** @param perm which dimension of x each dimension of the result is; all of them the other way round if there is none */
export function transpose(dims: Dims, perm: Dims = [...dims.keys()].reverse()): Copy {
  if ([...perm].sort((a, b) => a - b).join() !== [...dims.keys()].join())
    throw new RangeError(`transpose: perm expected every dimension of [${dims}] once, got [${perm}].`);
  const strides = stridesOf(dims);
  return one(
    perm.map((d) => dims[d]),
    { operand: 0, offset: 0, strides: perm.map((d) => strides[d]) },
  );
}

export interface SliceOptions {
  readonly starts: Dims;
  readonly ends: Dims;
  /** Default: the first ones. */
  readonly axes?: Dims | undefined;
  /** Default: 1 each. */
  readonly steps?: Dims | undefined;
}

/** Starts and ends count from the end where they are negative, and are clamped as in ONNX. */
export function slice(
  dims: Dims,
  { starts, ends, axes = [...starts.keys()], steps = starts.map(() => 1) }: SliceOptions,
): Copy {
  const rank = dims.length;
  for (const [name, { length }] of Object.entries({ ends, axes, steps }))
    if (length !== starts.length)
      throw new RangeError(`slice: ${name} expected ${starts.length} numbers like starts, got ${length}.`);
  if ([...starts, ...ends].some(Number.isNaN))
    throw new RangeError(`slice: starts and ends expected numbers, got [${starts}] and [${ends}].`);
  const strides = stridesOf(dims);
  const result = [...dims];
  let offset = 0;
  const taken = new Set<number>();
  for (const [i, given] of axes.entries()) {
    const d = axisOf('slice', given, rank);
    if (taken.has(d)) throw new RangeError(`slice: axes expected each one once, got [${axes}].`);
    taken.add(d);
    const step = steps[i];
    if (!Number.isInteger(step) || step === 0)
      throw new RangeError(`slice: steps expected integers other than 0, got [${steps}].`);
    // Going up, both are within 0..dim; going down, within 0..dim − 1 and −1..dim − 1.
    const clamped = (at: number, least: number, most: number) =>
      Math.min(Math.max(at < 0 ? at + dims[d] : at, least), most);
    const most = step > 0 ? dims[d] : dims[d] - 1;
    const [start, end] = [clamped(starts[i], 0, most), clamped(ends[i], step > 0 ? 0 : -1, most)];
    result[d] = Math.max(0, Math.ceil((end - start) / step));
    if (result[d] > 0) offset += start * strides[d];
    strides[d] *= step;
  }
  return one(result, { operand: 0, offset: elementCount(result) > 0 ? offset : 0, strides });
}

/** @param shapes of the inputs, equal but for the axis */
export function concat(shapes: readonly Dims[], axis: number): Copy {
  const [first] = shapes;
  if (!first) throw new RangeError('concat: shapes expected at least one, got none.');
  const d = axisOf('concat', axis, first.length);
  const around = (dims: Dims) => dims.with(d, 0).join();
  for (const dims of shapes)
    if (dims.length !== first.length || around(dims) !== around(first))
      throw new RangeError(
        `concat: shapes expected to differ along axis ${d} only, got ${shapes.map((s) => `[${s}]`).join(', ')}.`,
      );
  const result = first.with(
    d,
    shapes.reduce((sum, dims) => sum + dims[d], 0),
  );
  const strides = stridesOf(result);
  let begin = 0;
  const parts = shapes.map((dims, operand): CopyPart => {
    const to = { operand: 0, offset: begin * strides[d], strides };
    begin += dims[d];
    return { dims, from: dense(operand, dims), to };
  });
  return { outputs: [result], parts };
}

/** @param sizes of the parts along the axis; together they are the whole */
export function split(dims: Dims, axis: number, sizes: Dims): Copy {
  const d = axisOf('split', axis, dims.length);
  if (
    sizes.some((size) => !Number.isInteger(size) || size < 0) ||
    sizes.reduce((sum, size) => sum + size, 0) !== dims[d]
  )
    throw new RangeError(`split: sizes expected to add up to ${dims[d]}, got [${sizes}].`);
  const strides = stridesOf(dims);
  const outputs = sizes.map((size) => dims.with(d, size));
  let begin = 0;
  const parts = outputs.map((own, operand): CopyPart => {
    const from = { operand: 0, offset: begin * strides[d], strides };
    begin += own[d];
    return { dims: own, from, to: dense(operand, own) };
  });
  return { outputs, parts };
}

/** Broadcasting both ways, as ONNX Expand has it. */
export function expand(dims: Dims, shape: Dims): Copy {
  checkDims('expand: shape', shape);
  const result = broadcastDims('expand', [dims, shape]);
  return one(result, { operand: 0, offset: 0, strides: broadcastStrides(dims, result.length) });
}

/** @param repeats for each dimension */
export function tile(dims: Dims, repeats: Dims): Copy {
  if (repeats.length !== dims.length || repeats.some((times) => !Number.isInteger(times) || times < 0))
    throw new RangeError(`tile: repeats expected ${dims.length} whole numbers, got [${repeats}].`);
  const [from, result] = [stridesOf(dims), dims.map((dim, d) => dim * repeats[d])];
  const to = stridesOf(result);
  // Every dimension becomes two: which repetition, and where in it.
  return {
    outputs: [result],
    parts: [
      {
        dims: dims.flatMap((dim, d) => [repeats[d], dim]),
        from: { operand: 0, offset: 0, strides: from.flatMap((stride) => [0, stride]) },
        to: { operand: 0, offset: 0, strides: to.flatMap((stride, d) => [stride * dims[d], stride]) },
      },
    ],
  };
}

export interface PadOptions {
  /** Elements to add before and after, for each dimension; negative ones take away. */
  readonly before: Dims;
  readonly after: Dims;
  /** Default: constant. */
  readonly mode?: 'constant' | 'edge' | 'reflect' | 'wrap' | undefined;
  /** What a constant pad writes; default 0. */
  readonly value?: number | undefined;
}

/** Where a stretch of the result comes from, along one dimension. */
interface Segment {
  readonly count: number;
  readonly to: number;
  readonly from: number;
  readonly step: number;
}

export function pad(dims: Dims, { before, after, mode = 'constant', value = 0 }: PadOptions): Copy {
  for (const [name, counts] of Object.entries({ before, after }))
    if (counts.length !== dims.length || !counts.every(Number.isInteger))
      throw new RangeError(`pad: ${name} expected ${dims.length} integers, got [${counts}].`);
  const result = dims.map((dim, d) => dim + before[d] + after[d]);
  if (result.some((dim) => dim < 0))
    throw new RangeError(
      `pad: [${dims}] expected to keep what is taken away, got before [${before}], after [${after}].`,
    );
  const [from, to] = [stridesOf(dims), stridesOf(result)];
  const segments = dims.map((dim, d) => segmentsOf(dim, before[d], after[d], mode));
  const parts: CopyPart[] = [];
  const isLarger = [...before, ...after].some((count) => count > 0);
  if (mode === 'constant' && isLarger) parts.push({ dims: result, from: { value }, to: dense(0, result) });
  for (const choice of choices(segments))
    parts.push({
      dims: choice.map(({ count }) => count),
      from: placed(
        choice.map((segment) => segment.from),
        from,
        choice.map(({ step }) => step),
      ),
      to: placed(
        choice.map((segment) => segment.to),
        to,
        choice.map(() => 1),
      ),
    });
  return { outputs: [result], parts };
}

const placed = (offsets: Dims, strides: Dims, steps: Dims): Place => ({
  operand: 0,
  offset: offsets.reduce((sum, at, d) => sum + at * strides[d], 0),
  strides: strides.map((stride, d) => stride * steps[d]),
});

/** The part of a dimension that is kept, and what is put before and after it. */
function segmentsOf(dim: number, before: number, after: number, mode: NonNullable<PadOptions['mode']>): Segment[] {
  const first = Math.max(-before, 0);
  const kept = dim - first - Math.max(-after, 0);
  const last = first + kept - 1;
  const middle = { count: kept, to: Math.max(before, 0), from: first, step: 1 };
  if (mode === 'constant') return [middle];
  const most = mode === 'reflect' ? Math.max(kept - 1, 0) : mode === 'wrap' ? kept : kept > 0 ? Infinity : 0;
  if (before > most || after > most)
    throw new RangeError(`pad: ${mode} expected at most ${most} elements on each side, got ${before} and ${after}.`);
  const [left, right] = {
    edge: [
      { from: first, step: 0 },
      { from: last, step: 0 },
    ],
    reflect: [
      { from: first + before, step: -1 },
      { from: last - 1, step: -1 },
    ],
    wrap: [
      { from: last + 1 - before, step: 1 },
      { from: first, step: 1 },
    ],
  }[mode];
  return [
    { count: Math.max(before, 0), to: 0, ...left },
    middle,
    { count: Math.max(after, 0), to: middle.to + kept, ...right },
  ];
}

/** One segment of each dimension, in every combination that holds anything. */
function choices(segments: readonly (readonly Segment[])[]): Segment[][] {
  return segments.reduce<Segment[][]>(
    (all, own) => all.flatMap((chosen) => own.filter(({ count }) => count > 0).map((segment) => [...chosen, segment])),
    [[]],
  );
}
