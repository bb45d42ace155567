/** Options of tfjs's own loaders, beside MSD's. */
import type { io } from '@tensorflow/tfjs-core';
import { shown } from '../errors.ts';
import type { ModelOptions } from '../graph-model/options.ts';
import { checkOptions } from '../options.ts';

/** MSD's options and those of tfjs's loaders: by their names here, or all of them as `loadOptions`. */
export interface LoadModelOptions extends ModelOptions, io.LoadOptions {
  /** Options of tfjs's loader; those given beside it come first. */
  readonly loadOptions?: io.LoadOptions | undefined;
}

const NAMES = [
  'requestInit',
  'onProgress',
  'fetchFunc',
  'strict',
  'weightPathPrefix',
  'fromTFHub',
  'weightUrlConverter',
  'streamWeights',
] as const;

/** @throws `TypeError` for options that tfjs does not have */
export function splitOptions(
  options: LoadModelOptions,
  where: string,
): { readonly own: ModelOptions; readonly stock: io.LoadOptions } {
  checkOptions(options, where);
  const { loadOptions = {}, ...rest } = options;
  if (typeof loadOptions !== 'object' || loadOptions === null)
    throw new TypeError(`${where}: loadOptions, expected an object, got ${shown(loadOptions)}.`);
  const own: Record<string, unknown> = { ...rest };
  const stock: Record<string, unknown> = { ...loadOptions };
  for (const name of NAMES) {
    if (own[name] !== undefined) stock[name] = own[name];
    delete own[name];
  }
  return { own, stock };
}
