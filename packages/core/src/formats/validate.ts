/** Checks of weights that callers pass: everything is checked here once; packing and kernels trust their caller. */
import { formatIds, formats } from './index.ts';
import { fileLayout } from './layout.ts';
import { type ScaleArray, scaleKindOf, scaleKinds } from './scales.ts';
import type { QuantizedWeights, WeightShape } from './weights.ts';

/** Scales from here up could overflow a power of two that codes sharing a byte leave in the partial sums. */
export const SCALE_LIMIT: number = 2 ** 90;
/** Kernels address weights with 32-bit pointers. */
const MAX_DIMENSION = 2 ** 31 - 1;

const describe = (value: unknown): string =>
  value === null ? 'null' : typeof value === 'object' ? value.constructor.name : String(value);

function checkDimension(name: string, size: number, where: string): void {
  if (!Number.isSafeInteger(size) || size < 1 || size > MAX_DIMENSION)
    throw new RangeError(`${where}: ${name} expected a positive integer, got ${describe(size)}.`);
}

/** @throws {@link RangeError} for formats, sizes and block sizes outside the contract */
export function validateShape({ format, N, K, blockSize }: WeightShape, where: string): void {
  if (!Object.hasOwn(formats, format))
    throw new RangeError(`${where}: format expected one of ${formatIds.join(', ')}, got ${describe(format)}.`);
  checkDimension('N', N, where);
  checkDimension('K', K, where);
  const { blockSizes, perChannel } = formats[format];
  const [min, max] = blockSizes;
  const fits =
    blockSize === null
      ? perChannel
      : Number.isInteger(blockSize) && blockSize >= min && blockSize <= max && (blockSize & (blockSize - 1)) === 0;
  if (fits) return;
  const sizes = min === max ? `${min}` : `a power of two from ${min} up`;
  throw new RangeError(
    `${where}: blockSize of ${format} expected ${sizes}${perChannel ? ', or null for one scale per channel' : ''}, got ${describe(blockSize)}.`,
  );
}

/** For messages. */
const shapeOf = ({ format, N, K, blockSize }: WeightShape): string =>
  `${format} [N=${N},K=${K}]${blockSize ? ` blockSize ${blockSize}` : ' per channel'}`;

/**
 * @param whole false: not the values of scales, which something else looks at
 * @throws {@link TypeError} for arrays of the wrong kind
 * @throws {@link RangeError} for shapes, sizes and scales outside the contract
 */
export function validateWeights(weights: QuantizedWeights, where = 'prepare', whole = true): void {
  validateShape(weights, where);
  const { format, blockSize, data, scales, zeroPoints } = weights;
  const { scaleIds, asymmetric } = formats[format];
  const file = fileLayout(weights);
  const isBytes = data instanceof Uint8Array || (format === 'int8' && data instanceof Int8Array);
  if (!isBytes)
    throw new TypeError(
      `${where}: weights.data expected a ${format === 'int8' ? 'Int8Array or Uint8Array' : 'Uint8Array'} for ${shapeOf(weights)}, got ${describe(data)}.`,
    );
  if (data.byteLength !== file.dataBytes)
    throw sizeError(where, 'weights.data', file.dataBytes, 'bytes', weights, data.byteLength);
  if (!scaleIds.some((id) => scales instanceof scaleKinds[id].array))
    throw new TypeError(
      `${where}: weights.scales of ${format} expected a ${scaleIds.map((id) => scaleKinds[id].array.name).join(' or ')}, got ${describe(scales)}.`,
    );
  const perTensor = (length: number) => blockSize === null && length === 1;
  if (scales.length !== file.scaleCount && !perTensor(scales.length))
    throw sizeError(where, 'weights.scales', file.scaleCount, 'values', weights, scales.length);
  const bad = whole ? badScale(scales) : -1;
  if (bad >= 0)
    throw new RangeError(
      `${where}: weights.scales[${bad}] expected a finite value below 2^90 in magnitude, got ${scaleKindOf(scales).value(scales[bad])}.`,
    );
  if (zeroPoints === undefined) return;
  if (!asymmetric) throw new RangeError(`${where}: ${format} has no zero points, got ${zeroPoints.length}.`);
  const kind = data instanceof Int8Array ? Int8Array : Uint8Array;
  if (!(zeroPoints instanceof kind))
    throw new TypeError(
      `${where}: weights.zeroPoints expected a ${kind.name} like weights.data, got ${describe(zeroPoints)}.`,
    );
  if (zeroPoints.byteLength !== file.zeroPointBytes && !perTensor(zeroPoints.length))
    throw sizeError(where, 'weights.zeroPoints', file.zeroPointBytes, 'bytes', weights, zeroPoints.byteLength);
}

/** Index of the first scale that is not finite or not below 2⁹⁰, or -1. */
export function badScale(scales: ScaleArray): number {
  const { length } = scales;
  if (scales instanceof Float32Array) {
    // f32 scales are by far the most common, and every model waits for this check.
    for (let i = 0; i < length; i++) if (!(Math.abs(scales[i]) < SCALE_LIMIT)) return i;
    return -1;
  }
  const kind = scaleKindOf(scales);
  for (let i = 0; i < length; i++) if (!(Math.abs(kind.value(scales[i])) < SCALE_LIMIT)) return i;
  return -1;
}

function sizeError(
  where: string,
  what: string,
  expected: number,
  unit: string,
  weights: WeightShape,
  got: number,
): RangeError {
  return new RangeError(
    `${where}: ${what} expected ${expected} ${unit} for ${shapeOf(weights)}, got ${got}. Check format, N, K and blockSize.`,
  );
}
