/** Sizes of a matrix in its file and in its packed form: plain arithmetic, computed before anything is allocated. */
import { K_BLOCK, K_STEP, PANEL, stepBytes, type WeightFormat, type WeightVariant } from './format.ts';
import { formats } from './index.ts';
import { scaleKindOf, scaleKinds } from './scales.ts';
import type { QuantizedWeights, WeightShape } from './weights.ts';

export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/**
 * k per scaled integer sum of the f32 contract: the format's chunk, but never more k than share an activation scale.
 */
export const chunkLength = (format: WeightFormat, blockSize: number | null, activationBlock: number | 'row'): number =>
  Math.min(format.chunkSize(blockSize), activationBlock === 32 ? K_STEP : K_BLOCK);

/** What a file holds: [N, blocks] scales, rows of `rowBytes`. */
export interface FileLayout {
  readonly blocks: number;
  readonly rowBytes: number;
  readonly dataBytes: number;
  readonly scaleCount: number;
  readonly zeroPointBytes: number;
}

export function fileLayout({ format, N, K, blockSize }: WeightShape): FileLayout {
  const blocks = blockSize ? Math.ceil(K / blockSize) : 1;
  const rowBytes = (blockSize ? blocks * blockSize : K) * (formats[format].bits / 8);
  const zeroPointBytes = N * Math.ceil((blocks * formats[format].bits) / 8);
  return { blocks, rowBytes, dataBytes: N * rowBytes, scaleCount: N * blocks, zeroPointBytes };
}

/** What the kernels read. */
export interface PackedLayout {
  readonly paddedK: number;
  readonly panels: number;
  /** k that share a head inside a K-block. */
  readonly span: number;
  readonly headBytes: number;
  /** Bytes of the panels; the per-channel scales follow. */
  readonly panelBytes: number;
  readonly byteLength: number;
}

export function packedLayout(format: WeightFormat, variant: WeightVariant, N: number, K: number): PackedLayout {
  const paddedK = roundUp(K, K_STEP);
  const panels = Math.ceil(N / PANEL);
  const span = Math.min(variant.blockSize ?? K_BLOCK, K_BLOCK);
  const headBytes = headSize(variant);
  // A span never crosses a K-block: both are powers of two.
  const heads = Math.floor(paddedK / K_BLOCK) * (K_BLOCK / span) + Math.ceil((paddedK % K_BLOCK) / span);
  const panelBytes = panels * (heads * headBytes + (paddedK / 4) * stepBytes(format));
  return {
    paddedK,
    panels,
    span,
    headBytes,
    panelBytes,
    byteLength: panelBytes + (variant.blockSize ? 0 : 4 * PANEL * panels),
  };
}

/** Bytes from a block's head to the next one's, inside a K-block. */
export const headStep = (format: Pick<WeightFormat, 'bits'>, { headBytes, span }: PackedLayout): number =>
  headBytes + (span / 4) * stepBytes(format);

/** Bytes of a block's scales in its head. */
export const scaleBytes = ({ blockSize, scale }: WeightVariant): number =>
  blockSize ? scaleKinds[scale].bytes * PANEL : 0;

export const headSize = (variant: WeightVariant): number =>
  scaleBytes(variant) + (variant.storedZeroPoints ? PANEL : 0);

/** What the kernels of a matrix are specialised for. */
export function variantOf({ blockSize, scales, zeroPoints }: QuantizedWeights): WeightVariant {
  // Per channel there are few: fp16 ones are widened once.
  return { blockSize, storedZeroPoints: zeroPoints !== undefined, scale: blockSize ? scaleKindOf(scales).id : 'f32' };
}

/** Rows [n, end) of a matrix, as views. */
export function rowsOf(weights: QuantizedWeights, n: number, end: number): QuantizedWeights {
  const { blocks, rowBytes, zeroPointBytes } = fileLayout(weights);
  const zeroRow = zeroPointBytes / weights.N;
  const { data, scales, zeroPoints, blockSize } = weights;
  // One value for the whole matrix is every row's.
  const some = <A extends QuantizedWeights['scales'] | Int8Array>(values: A, perRow: number): A =>
    blockSize === null && values.length === 1 ? values : (values.subarray(n * perRow, end * perRow) as A);
  return {
    ...weights,
    N: end - n,
    data: data.subarray(n * rowBytes, end * rowBytes),
    scales: some(scales, blocks),
    ...(zeroPoints && { zeroPoints: some(zeroPoints, zeroRow) }),
  };
}
