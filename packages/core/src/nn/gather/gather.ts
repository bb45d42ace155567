/**
 * Gather: slices of x along one axis, wherever they lie in the arena; and rows of a table that is stored in fewer bytes.
 *
 *   gather       y[o…, i…, j…] = x[o…, indices[i…], j…]              f32, i32 or bool; o: dimensions before the axis, j: after it
 *   gather_rows  y[i…, c] = real(table, indices[i…], c)              f32; table.ts says what a row is
 *
 * Indices are i32; negative ones count from the end, and one out of range gives zeros. If that should be an error, call
 * `checkIndices` before.
 *
 * Operands of gather_rows: the table's bytes as i32 words, the last one filled up; indices; scales (f32, or words of halves); words
 * of zero points. For tables that stay in JavaScript memory or in a file, see reader.ts.
 */
import { kernelCall } from '../../kernel-spec.ts';
import {
  byteSize,
  complete,
  type DType,
  elementCount,
  type OpSpec,
  type Tensor,
  type TensorType,
} from '../../ops/op.ts';
import { refuse } from '../refuse.ts';
import { codeAt, halfValues, writeBlock } from './codes.ts';
import { gatherKernel, gatherRowsKernels } from './gather.wasm.ts';
import { type Table, tableLayout } from './table.ts';

export interface Gather {
  /** Default 0. */
  readonly axis?: number | undefined;
}

export const gatherOnWasm: OpSpec<Gather> = {
  name: 'gather',
  infer(op, [x, indices]) {
    const { outer, inner } = sidesOf(op, x, indices);
    return [{ dtype: x!.dtype, dims: [...outer, ...indices!.dims, ...inner] }];
  },
  wasm(op, [x, indices], [y]) {
    const { outer, rows, inner } = sidesOf(op, x, indices);
    const [before, count] = [elementCount(outer), elementCount(indices!.dims)];
    const rowBytes = byteSize(x!.dtype) * elementCount(inner);
    if (before * count * rowBytes === 0) return { calls: [], scratchBytes: 0 };
    // Threads share the indices, or what lies before the axis.
    const one = before === 1;
    const args = {
      x: { operand: 0, perRow: one ? 0 : rows * rowBytes },
      xStep: rows * rowBytes,
      indices: { operand: 1, perRow: one ? 4 : 0 },
      y: { operand: 2, perRow: one ? rowBytes : count * rowBytes },
      outer: one ? 1 : { rows: 1 },
      count: one ? { rows: 1 } : count,
      rows,
      rowBytes,
    };
    const shared = one ? count : before;
    const macsPerRow = elementCount(y.dims) / shared;
    return { calls: [kernelCall(gatherKernel, undefined, args, { rows: shared, macsPerRow })], scratchBytes: 0 };
  },
};

export const gather = /* @__PURE__ */ complete(gatherOnWasm, {
  reference(op, [x, indices], [y]) {
    const { outer, rows, inner } = sidesOf(op, x, indices);
    const [width, count] = [elementCount(inner), elementCount(indices!.dims)];
    for (let o = 0; o < elementCount(outer); o++)
      for (let i = 0; i < count; i++) {
        const row = rowOf(indices!.data[i], rows);
        for (let j = 0; j < width; j++)
          y.data[(o * count + i) * width + j] = row < 0 ? 0 : x!.data[(o * rows + row) * width + j];
      }
  },
});

function sidesOf({ axis = 0 }: Gather, x: TensorType | undefined, indices: TensorType | undefined) {
  if (!x || x.dims.length === 0) refuse('gather', 'x', 'at least one dimension', x ? '[]' : 'nothing');
  checkType('gather', 'indices', indices, 'i32');
  const rank = x.dims.length;
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) refuse('gather', 'axis', `${-rank}..${rank - 1}`, axis);
  const d = axis < 0 ? axis + rank : axis;
  return { outer: x.dims.slice(0, d), rows: x.dims[d], inner: x.dims.slice(d + 1) };
}

function checkType(op: string, name: string, given: TensorType | undefined, dtype: DType): void {
  if (given?.dtype !== dtype) refuse(op, name, dtype, given?.dtype ?? 'nothing');
}

/** −1 for an index out of range. */
function rowOf(index: number, rows: number): number {
  const row = index < 0 ? index + rows : index;
  return row >= 0 && row < rows ? row : -1;
}

/** A table that lies in the arena. */
export interface GatherRows {
  readonly table: Table;
}

export const gatherRowsOnWasm: OpSpec<GatherRows> = {
  name: 'gather_rows',
  infer({ table }, inputs) {
    checkOperands(table, inputs);
    return [{ dtype: 'f32', dims: [...inputs[1]!.dims, table.columns] }];
  },
  wasm({ table }, inputs, [y]) {
    const count = elementCount(inputs[1]!.dims);
    const { rows, columns, format } = table;
    if (count * columns === 0) return { calls: [], scratchBytes: 0 };
    const { rowBytes, blocks, scaleBytes, zeroStride } = tableLayout(table);
    const blockwise = typeof format === 'string' ? undefined : format;
    const args = {
      table: { operand: 0 },
      indices: { operand: 1, perRow: 4 },
      y: { operand: inputs.length, perRow: 4 * columns },
      count: { rows: 1 },
      rows,
      columns,
      rowBytes,
      scales: { operand: 2 },
      scaleStride: blocks * scaleBytes,
      zeroPoints: { operand: 3 },
      zeroStride,
      zeroPoint: blockwise?.zeroPoint ?? 0,
      blockSize: blockwise?.blockSize ?? 0,
    };
    const share = { rows: count, macsPerRow: (2 * elementCount(y.dims)) / count };
    return { calls: [kernelCall(gatherRowsKernels, format, args, share)], scratchBytes: 0 };
  },
};

export const gatherRows = /* @__PURE__ */ complete(gatherRowsOnWasm, {
  reference({ table }, inputs, [y]) {
    const [data, indices, scales, zeroPoints] = inputs;
    const { rows, columns, format } = table;
    const { rowBytes, blocks, zeroStride } = tableLayout(table);
    const [codes, zeroCodes] = [bytesOf(data!), zeroPoints && bytesOf(zeroPoints)];
    const floats = (type: 'f32' | 'f16' | 'bf16', operand: Tensor) => {
      if (type === 'f32') return new Float32Array(bytesOf(operand).buffer);
      const values = halfValues(type);
      return Float32Array.from(new Uint16Array(bytesOf(operand).buffer), (pattern) => values[pattern]);
    };
    const real = typeof format === 'string' ? floats(format, data!) : floats(format.scales, scales!);
    const y32 = y.data as Float32Array | Float64Array;
    for (let i = 0; i < elementCount(indices!.dims); i++) {
      const row = rowOf(indices!.data[i], rows);
      const at = i * columns;
      if (row < 0) y32.fill(0, at, at + columns);
      else if (typeof format === 'string') y32.set(real.subarray(row * columns, (row + 1) * columns), at);
      else
        for (let b = 0; b < blocks; b++) {
          const zero = zeroCodes ? codeAt(zeroCodes, row * zeroStride + b, format) : (format.zeroPoint ?? 0);
          writeBlock(table, format, codes.subarray(row * rowBytes), b, real[row * blocks + b], zero, y32, at);
        }
    }
  },
});

function checkOperands(table: Table, [data, indices, scales, zeroPoints]: readonly (TensorType | undefined)[]): void {
  const { total } = tableLayout(table);
  const { format } = table;
  const check = (name: string, given: TensorType | undefined, dtype: DType, bytes: number) => {
    const words = Math.ceil(bytes / 4);
    if (given?.dtype !== dtype || elementCount(given.dims) !== words)
      refuse(
        'gather_rows',
        name,
        `${words} ${dtype}`,
        given ? `${elementCount(given.dims)} ${given.dtype}` : 'nothing',
      );
  };
  check('table', data, format === 'f32' ? 'f32' : 'i32', total.rows);
  checkType('gather_rows', 'indices', indices, 'i32');
  if (typeof format === 'string') return;
  check('scales', scales, format.scales === 'f32' ? 'f32' : 'i32', total.scales);
  if (format.zeroPoints) check('zeroPoints', zeroPoints, 'i32', total.zeroPoints);
}

const bytesOf = ({ data }: Tensor): Uint8Array<ArrayBuffer> =>
  new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength).slice();
