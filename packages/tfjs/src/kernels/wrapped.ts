/** Kernels of tfjs that MSD looks up, and takes over. */
import type { KernelConfig } from '@tensorflow/tfjs-core';
import { registration } from '../state.ts';

export type { KernelConfig };

/** A registered kernel, or undefined. */
export const getWrapped = (kernelName: string, backendName: string): KernelConfig | undefined =>
  registration()?.tf.getKernel(kernelName, backendName);
