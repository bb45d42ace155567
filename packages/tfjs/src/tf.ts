/**
 * The namespace that users hand to `register`, and what of TensorFlow.js is not in its public types but there at run
 * time. Types only: this package imports no TensorFlow.js by itself.
 */
import type * as tfc from '@tensorflow/tfjs-core';
import { shown } from './errors.ts';

/** `import * as tf from '@tensorflow/tfjs'`, or tfjs-core alone, or the global `tf` of a script tag. */
export type TfNamespace = typeof tfc;

export type Tensor = tfc.Tensor;
export type TensorInfo = tfc.TensorInfo;
export type DataId = tfc.DataId;

/** Throws unless this looks like a namespace of TensorFlow.js. */
export function checkNamespace(tf: unknown, where: string): asserts tf is TfNamespace {
  const needed = ['registerKernel', 'unregisterKernel', 'getKernel', 'engine', 'registerGradient', 'Tensor'] as const;
  const given = tf as Partial<Record<string, unknown>> | null | undefined;
  const missing = needed.find((name) => typeof given?.[name] !== 'function');
  if (missing)
    throw new TypeError(
      `${where}: tf, expected a namespace like \`import * as tf from '@tensorflow/tfjs-core'\`, got ${given === null || typeof given !== 'object' ? shown(given) : `an object without ${missing}`}.`,
    );
}
