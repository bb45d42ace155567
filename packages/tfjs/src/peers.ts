/** The converter and the layers API: part of the namespace, handed over, or an installed peer; loaded when first needed. */

import { UnsupportedError } from '@msd/core';
import type * as tfConverter from '@tensorflow/tfjs-converter';
import type * as tfLayers from '@tensorflow/tfjs-layers';
import { requireRegistration } from './state.ts';

export type ConverterNamespace = typeof tfConverter;
export type LayersNamespace = typeof tfLayers;

/** @throws {@link UnsupportedError} if there is none */
export async function converter(where: string): Promise<ConverterNamespace> {
  const { tf, converter: given } = requireRegistration(where);
  if (given) return given;
  if ('loadGraphModel' in tf) return tf as unknown as ConverterNamespace;
  try {
    // In a try block bundlers accept that an optional peer may be missing.
    return await import('@tensorflow/tfjs-converter');
  } catch (cause) {
    throw missing(where, '@tensorflow/tfjs-converter', 'converter', cause);
  }
}

/** @throws {@link UnsupportedError} if there is none */
export async function layers(where: string): Promise<LayersNamespace> {
  const { tf, layers: given } = requireRegistration(where);
  if (given) return given;
  if ('loadLayersModel' in tf) return tf as unknown as LayersNamespace;
  try {
    return await import('@tensorflow/tfjs-layers');
  } catch (cause) {
    throw missing(where, '@tensorflow/tfjs-layers', 'layers', cause);
  }
}

const missing = (where: string, name: string, option: string, cause: unknown): UnsupportedError =>
  new UnsupportedError(
    `${where}: ${name} is needed and not there. Install it, register @tensorflow/tfjs, or pass register(tf, { ${option} }).`,
    { cause },
  );
