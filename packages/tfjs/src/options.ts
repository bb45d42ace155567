/** Options of the arithmetic, for `register` and for single calls. */

import type { ActivationBlock } from '@msd/core';
import { shown } from './errors.ts';
import type { ConverterNamespace, LayersNamespace } from './peers.ts';

/** How activations are split; per call, or as defaults of `register`. */
export interface ArithmeticOptions {
  /** int8 components per activation: 2 (default) = about 16 bits, 1 = dynamic int8. */
  readonly components?: 1 | 2 | undefined;
  /** Consecutive k of a row that share an activation scale. Default 256; 32 follows outliers more closely. */
  readonly activationBlock?: ActivationBlock | undefined;
}

export interface RegisterOptions extends ArithmeticOptions {
  /**
   * Takes over `BatchMatMul` and `_FusedMatMul` for operands that were quantized with `quantize`: `tf.matMul(x, w)`,
   * `tf.layers.dense` and graph models then run on the quantized form of `w` as long as `w` lives. Default false.
   */
  readonly override?: boolean | undefined;
  /** `import * as converter from '@tensorflow/tfjs-converter'`; default: tf itself, else the installed package. */
  readonly converter?: ConverterNamespace | undefined;
  /** `import * as layers from '@tensorflow/tfjs-layers'`; default: tf itself, else the installed package. */
  readonly layers?: LayersNamespace | undefined;
}

export interface ResolvedOptions {
  readonly components: 1 | 2;
  readonly activationBlock: ActivationBlock;
  readonly override: boolean;
}

const KEYS: readonly string[] = ['components', 'activationBlock', 'override', 'converter', 'layers'];

/** @throws `TypeError` for unknown names and wrong kinds, `RangeError` for wrong values */
export function resolveOptions(options: RegisterOptions, defaults?: ResolvedOptions): ResolvedOptions {
  checkKeys(options, KEYS, 'register');
  const { override = defaults?.override ?? false } = options;
  if (typeof override !== 'boolean')
    throw new TypeError(`register: option 'override', expected a boolean, got ${typeof override}.`);
  return { ...resolveArithmetic(options, defaults, 'register'), override };
}

/** @throws `TypeError` for anything but an object, and for unknown options */
export function checkKeys(options: object, known: readonly string[], where: string): void {
  checkOptions(options, where);
  for (const key of Object.keys(options))
    if (!known.includes(key))
      throw new TypeError(`${where}: option '${shown(key)}', expected one of ${known.join(', ')}.`);
}

/** @throws `TypeError` for anything but an object */
export function checkOptions(options: object, where: string): void {
  if (typeof options !== 'object' || options === null)
    throw new TypeError(`${where}: options, expected an object, got ${shown(options)}.`);
}

/** @throws `RangeError` for wrong values */
export function resolveArithmetic(
  options: ArithmeticOptions,
  defaults: ArithmeticOptions | undefined,
  where: string,
): { components: 1 | 2; activationBlock: ActivationBlock } {
  const components = options.components ?? defaults?.components ?? 2;
  const activationBlock = options.activationBlock ?? defaults?.activationBlock ?? 256;
  if (components !== 1 && components !== 2)
    throw new RangeError(`${where}: components, expected 1 or 2, got ${shown(components)}.`);
  if (activationBlock !== 'row' && activationBlock !== 256 && activationBlock !== 32)
    throw new RangeError(`${where}: activationBlock, expected 'row', 256 or 32, got ${shown(activationBlock)}.`);
  return { components, activationBlock };
}
