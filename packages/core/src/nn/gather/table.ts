/**
 * Tables whose rows are stored in fewer bytes than floats: how a row lies, and what it is.
 *
 *   f16, bf16   exact
 *   blocks      real[r,c] = fl((code[r,c] − zero[r,b]) · scale[r,b]),  b = floor(c / blockSize): one rounding
 *
 * Codes are of 4 or 8 bits, the even one of two in the low half of a byte; a row of codes starts at a byte. Scales lie row by row.
 * These are ONNX's GatherBlockQuantized tables: int4 and uint4 have `zeroPoints: 'flat'` and 0 without any; uint8 with `bits` has
 * `zeroPoints: 'rows'` and `zeroPoint: 2 ** (bits - 1)` without any. Dimensions after the gathered one fold into the columns if
 * the last one is a multiple of the block.
 */
import { type FloatType, floatBytes } from '../../formats/half.ts';

export interface BlockRows {
  readonly kind: 'blocks';
  readonly bits: 4 | 8;
  readonly signed: boolean;
  /** Neighbouring codes of a row with one scale. */
  readonly blockSize: number;
  readonly scales: FloatType;
  /** Stored, as codes of the same kind: one after the other, or with every row starting at a byte. */
  readonly zeroPoints?: 'flat' | 'rows' | undefined;
  /** If none are stored. Default 0. */
  readonly zeroPoint?: number | undefined;
}

export interface Table {
  readonly rows: number;
  readonly columns: number;
  readonly format: FloatType | BlockRows;
}

/** Bytes of the parts of a table. Zero points are also counted in codes, since a row may start inside a byte. */
export interface TableLayout {
  readonly rowBytes: number;
  readonly blocks: number;
  readonly scaleBytes: number;
  /** Zero points from one row to the next. */
  readonly zeroStride: number;
  readonly total: { readonly rows: number; readonly scales: number; readonly zeroPoints: number };
}

/** @throws {@link RangeError} */
export function tableLayout({ rows, columns, format }: Table): TableLayout {
  if (![rows, columns].every((count) => Number.isInteger(count) && count >= 0))
    throw new RangeError(`gatherRows: table expected whole numbers of rows and columns, got ${rows} and ${columns}.`);
  if (typeof format === 'string') {
    const rowBytes = columns * floatBytes(format);
    return {
      rowBytes,
      blocks: 0,
      scaleBytes: 0,
      zeroStride: 0,
      total: { rows: rows * rowBytes, scales: 0, zeroPoints: 0 },
    };
  }
  const { bits, blockSize, scales, zeroPoints } = format;
  if (!Number.isInteger(blockSize) || blockSize < 2 || blockSize % 2 !== 0)
    throw new RangeError(`gatherRows: blockSize expected an even number, got ${blockSize}.`);
  const rowBytes = (columns * bits) / 8;
  if (!Number.isInteger(rowBytes))
    throw new RangeError(`gatherRows: columns expected an even number for codes of ${bits} bits, got ${columns}.`);
  const blocks = Math.ceil(columns / blockSize);
  const scaleBytes = floatBytes(scales);
  const zeroStride = zeroPoints === 'rows' && bits === 4 ? blocks + (blocks % 2) : blocks;
  const zeroCodes = zeroPoints ? Math.ceil((rows * zeroStride * bits) / 8) : 0;
  return {
    rowBytes,
    blocks,
    scaleBytes,
    zeroStride,
    total: { rows: rows * rowBytes, scales: rows * blocks * scaleBytes, zeroPoints: zeroCodes },
  };
}

/**
 * Checks that all indices are rows; negative ones count from the end.
 * @throws {@link RangeError} naming the first that is not
 */
export function checkIndices(where: string, indices: ArrayLike<number | bigint>, rows: number): void {
  for (let i = 0; i < indices.length; i++) {
    const index = Number(indices[i]);
    if (!(index >= -rows && index < rows))
      throw new RangeError(`${where}: indices[${i}] expected ${-rows}..${rows - 1} for ${rows} rows, got ${index}.`);
  }
}
