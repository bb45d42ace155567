/** Packed matrices as plain bytes: for callers that keep the bytes themselves. */
import { UnsupportedError } from '../errors.ts';
import { formats } from './index.ts';
import { type PackedLayout, packedLayout, variantOf } from './layout.ts';
import { packInto } from './pack.ts';
import { repackVersion1 } from './packed-v1.ts';
import type { ScaleId } from './scales.ts';
import { validateShape, validateWeights } from './validate.ts';
import type { QuantizedWeights, WeightShape } from './weights.ts';

/** Version of the packed layout that kernels read. Keep it beside packed bytes: {@link upgradePacked} takes older ones. */
export const PACKED_VERSION = 2;

/** Everything that kernels need to know about a packed matrix. */
export interface PackedShape extends WeightShape {
  readonly storedZeroPoints: boolean;
  /** Form of the block scales; per channel 'f32'. */
  readonly scale: ScaleId;
  /** Version of the bytes' layout, checked by all readers. Default: {@link PACKED_VERSION}. */
  readonly version?: number | undefined;
}

/** A matrix in the kernels' layout. Plain bytes: they may be stored, moved and sent; `adopt` takes them back. */
export interface PackedWeights extends PackedShape {
  readonly version: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The shape of a matrix when it is packed. */
export function packedShape(weights: QuantizedWeights): PackedShape {
  const { format, N, K, blockSize } = weights;
  const { storedZeroPoints, scale } = variantOf(weights);
  return { format, N, K, blockSize, storedZeroPoints, scale, version: PACKED_VERSION };
}

/** Bytes that a packed matrix needs: for sizing memory before anything is loaded. */
export function packedByteLength(shape: WeightShape, storedZeroPoints: boolean, scale?: ScaleId): number {
  validateShape(shape, 'packedByteLength');
  return layoutOf({ ...shape, storedZeroPoints, scale: scale ?? formats[shape.format].scaleIds[0] }).byteLength;
}

export const layoutOf = (shape: PackedShape): PackedLayout =>
  packedLayout(formats[shape.format], shape, shape.N, shape.K);

/**
 * Packs a matrix into bytes of its own, for example to keep it in another library's tensor.
 *
 * @returns bytes that the caller owns; a multiple of 4
 * @throws {@link TypeError}, {@link RangeError} if the arrays do not fit the shape
 */
export function packWeights(weights: QuantizedWeights): PackedWeights {
  validateWeights(weights, 'packWeights');
  const shape = packedShape(weights);
  const layout = layoutOf(shape);
  const bytes = new Uint8Array(layout.byteLength);
  packInto(weights, layout, bytes.buffer, 0);
  return { ...shape, version: PACKED_VERSION, bytes };
}

/**
 * Converts packed bytes of an older version of this package to the present layout. Their size does not change.
 *
 * @returns bytes that the caller owns; `packed` itself if there is nothing to do
 * @throws {@link UnsupportedError} for a newer version, {@link RangeError} if the bytes cannot be the matrix
 */
export function upgradePacked(packed: PackedWeights): PackedWeights {
  const { version } = packed;
  if (version === PACKED_VERSION) return packed;
  if (!isOlder(version)) throw wrongVersion(packed, 'upgradePacked');
  const layout = checkPacked(packed, packed.bytes.byteLength, 'upgradePacked');
  const bytes = packed.bytes.slice();
  repackVersion1(packed, layout, bytes);
  return { ...packed, version: PACKED_VERSION, bytes };
}

const isOlder = (version: number | undefined): boolean => version === 1;

function wrongVersion({ format, N, K, version }: PackedShape, where: string): UnsupportedError {
  const advice = isOlder(version)
    ? 'Pass them through upgradePacked once.'
    : 'Update @msd/core, or pack the weights again with this version.';
  return new UnsupportedError(
    `${where}: packed ${format} [N=${N},K=${K}] expected layout version ${PACKED_VERSION}, got ${version}. ${advice}`,
  );
}

/** @throws {@link UnsupportedError} for bytes of another version */
export function requireVersion(shape: PackedShape, where: string): void {
  if (shape.version !== undefined && shape.version !== PACKED_VERSION) throw wrongVersion(shape, where);
}

/** Checks the shape of a packed matrix, which may come from a file, like that of weights. */
export function validatePacked(shape: PackedShape, byteLength: number, where: string): PackedLayout {
  requireVersion(shape, where);
  return checkPacked(shape, byteLength, where);
}

/** The same for bytes of any version: all of them have this size. */
function checkPacked(shape: PackedShape, byteLength: number, where: string): PackedLayout {
  validateShape(shape, where);
  const { scaleIds, asymmetric } = formats[shape.format];
  const { format, N, K, blockSize, storedZeroPoints, scale } = shape;
  if (blockSize === null ? scale !== 'f32' : !scaleIds.includes(scale))
    throw new RangeError(
      `${where}: scale of ${format} expected ${blockSize === null ? 'f32' : scaleIds.join(' or ')}, got ${scale}.`,
    );
  if (storedZeroPoints && !asymmetric) throw new RangeError(`${where}: ${format} has no zero points.`);
  const layout = layoutOf(shape);
  if (byteLength !== layout.byteLength)
    throw new RangeError(
      `${where}: packed ${format} [N=${N},K=${K}] expected ${layout.byteLength} bytes, got ${byteLength}. Was it packed by another version?`,
    );
  return layout;
}
