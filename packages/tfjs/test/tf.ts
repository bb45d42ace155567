/** TensorFlow.js as the tests use it, and what they all need. */
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import { expect } from 'vitest';
import { gaussians, random } from '../../core/test/seeded.ts';

export { random, tf };

/** What MSD supports without copies, and what it supports at all. */
export const BACKENDS = ['cpu', 'wasm'] as const;

export async function useBackend(name: string): Promise<void> {
  if (!(await tf.setBackend(name))) throw new Error(`no backend ${name}`);
  await tf.ready();
}

/** Seeded Gaussian values. */
export const gaussian = (seed: number, length: number): Float32Array => gaussians(random(seed), length);

export const tensor = (seed: number, shape: number[]): tf.Tensor =>
  tf.tensor(
    gaussian(
      seed,
      shape.reduce((a, b) => a * b, 1),
    ),
    shape,
  );

/** ‖got − want‖ / ‖want‖ */
export function relativeL2(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let [error, size] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    error += (got[i]! - want[i]!) ** 2;
    size += want[i]! ** 2;
  }
  return Math.sqrt(error / size);
}

/** Runs, and demands that tfjs holds exactly the tensors and bytes that it held before. */
export async function withoutLeaks(run: () => void | Promise<void>): Promise<void> {
  const before = tf.memory();
  const ids = tf.engine().backend.numDataIds();
  await run();
  const after = tf.memory();
  expect({ tensors: after.numTensors, bytes: after.numBytes, ids: tf.engine().backend.numDataIds() }).toEqual({
    tensors: before.numTensors,
    bytes: before.numBytes,
    ids,
  });
}

/** `tf.tidy` for results that it keeps alive but whose type it does not know. */
export const tidied = <T>(run: () => T): T => tf.tidy(run as never) as T;
