/** Options of loading and accelerating models. */

import { type FormatId, formatIds, type KvType } from '@msd/core';
import { type Activations, readActivations } from '../activations.ts';
import { LEAST_GAIN, refusedGain } from '../convolution/price.ts';
import { shown } from '../errors.ts';
import { checkKeys } from '../options.ts';
import type { WeightFormatOptions } from '../weights/encode.ts';
import type { ClaimOptions } from './claim.ts';
import type { RewriteOptions } from './rewrite.ts';

export interface ModelOptions {
  /** What weights become that are floats in the file; stored integers stay as they are. Default 'int8'. */
  readonly format?: FormatId | undefined;
  /** Consecutive k per scale; default: one scale per column for int8, 32 for the others. */
  readonly blockSize?: number | null | undefined;
  /**
   * Convolutions: true = all that are predicted to run at least 1.2 times as fast as in tfjs, with scales per block, depthwise ones as
   * floats; false = none; 'auto' (default) = only in models whose convolutions are all 1x1. Some CNNs lose much with int8 per
   * channel: look at the reported errors.
   */
  readonly convolutions?: boolean | 'auto' | undefined;
  /** Constant tables behind GatherV2 and SparseSegmentMean/Sum, Embedding layers. Default true. */
  readonly tables?: boolean | undefined;
  /** Graph models: fuse a Reshape, bias and activation behind a product into it. Default true; the inner nodes are then gone. */
  readonly fuse?: boolean | undefined;
  /** Constants with fewer elements are left alone. Default 1024. */
  readonly minElements?: number | undefined;
  /**
   * Graph models: attention (multiply, scale, mask, softmax, multiply) becomes one op, which keeps keys and values in this form while
   * it runs; false = leave it alone. Default 'int16'.
   */
  readonly attention?: KvType | false | undefined;
  /**
   * Layers models: leave layers alone whose `trainable` is not false, because packed weights cannot be trained. Default
   * false.
   */
  readonly keepTrainable?: boolean | undefined;
  /**
   * Activations from your own data, by the name of the node or layer, from `recordActivations`: errors are measured with
   * them, and decide whether a format is fine enough. Without them the weights alone decide.
   */
  readonly activations?: Activations | undefined;
}

const KV_TYPES: readonly KvType[] = ['int16', 'int8', 'float'];
const KEYS: readonly string[] = [
  'format',
  'blockSize',
  'convolutions',
  'tables',
  'fuse',
  'minElements',
  'attention',
  'keepTrainable',
  'activations',
];

/**
 * @param more further keys that the caller knows
 * @throws `TypeError` for unknown names and wrong kinds, `RangeError` for wrong values
 */
export async function resolveModelOptions(
  options: ModelOptions,
  where: string,
  more: readonly string[] = [],
): Promise<RewriteOptions> {
  checkKeys(options, [...KEYS, ...more], where);
  const { format = 'int8', blockSize, convolutions = 'auto', tables = true, fuse = true, minElements = 1024 } = options;
  const { attention = 'int16', keepTrainable = false } = options;
  if (attention !== false && !KV_TYPES.includes(attention))
    throw new RangeError(
      `${where}: attention, expected one of ${KV_TYPES.join(', ')} or false, got ${shown(attention)}.`,
    );
  if (!formatIds.includes(format))
    throw new RangeError(`${where}: format, expected one of ${formatIds.join(', ')}, got ${shown(format)}.`);
  if (convolutions !== true && convolutions !== false && convolutions !== 'auto')
    throw new RangeError(`${where}: convolutions, expected true, false or 'auto', got ${shown(convolutions)}.`);
  for (const [name, value] of Object.entries({ tables, fuse, keepTrainable }))
    if (typeof value !== 'boolean') throw new TypeError(`${where}: ${name}, expected a boolean, got ${typeof value}.`);
  if (!Number.isSafeInteger(minElements) || minElements < 0)
    throw new RangeError(`${where}: minElements, expected a count, got ${shown(minElements)}.`);
  if (blockSize != null && typeof blockSize !== 'number')
    throw new TypeError(`${where}: blockSize, expected a number or null, got ${shown(blockSize)}.`);
  const taken = { convolutions, tables, fuse, minElements, attention, keepTrainable };
  const activations = await readActivations(options.activations, where);
  return { format, blockSize, convolutionBlockSize: 32, ...taken, activations };
}

/** Why weights are left alone that MSD could take; undefined = they are wanted. */
export function whyUnwanted(
  weights: {
    readonly size: number;
    readonly isTable: boolean;
    readonly isConvolution: boolean;
    /** The model has convolutions that look at neighbours. */
    readonly isCnn: boolean;
    /** Of a convolution: how much faster than tfjs it is predicted to be. */
    readonly gain?: number | undefined;
  },
  { minElements, convolutions, tables }: ClaimOptions,
): string | undefined {
  const { size, isTable, isConvolution, isCnn, gain = LEAST_GAIN } = weights;
  if (size < minElements) return `fewer than ${minElements} weights`;
  if (isTable && !tables) return 'tables are switched off';
  if (isConvolution && convolutions === false) return 'convolutions are switched off';
  if (isConvolution && convolutions === 'auto' && isCnn)
    return "a CNN's convolution: only on request, convolutions: true";
  if (isConvolution && isCnn && gain < LEAST_GAIN) return refusedGain(gain);
  return undefined;
}

/** How weights that are floats are quantized. */
export function formatFor(
  isConvolution: boolean,
  { format, blockSize, convolutions, convolutionBlockSize }: RewriteOptions,
): WeightFormatOptions {
  const isCnn = convolutions === true && isConvolution;
  return { format, blockSize: isCnn && blockSize === undefined ? convolutionBlockSize : blockSize };
}
