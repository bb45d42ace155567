/** Makes MSD's kernels known to TensorFlow.js, and takes them back. */
import type { KernelConfig } from '@tensorflow/tfjs-core';
import { prepareBackend, sweepFloats } from './fallback.ts';
import { gatherGradient } from './gather.ts';
import { BACKENDS, disposeHost, isProbed, requireHost } from './kernels/hosts.ts';
import { kernels } from './kernels/index.ts';
import { matMulGradient } from './mat-mul.ts';
import { type RegisterOptions, resolveOptions } from './options.ts';
import { OVERRIDDEN, overridden } from './override.ts';
import { registration, requireRegistration, setRegistration } from './state.ts';
import { mendGradients, restoreGradients } from './stock/gradients.ts';
import { MENDED, mended } from './stock/index.ts';
import { teachLoaders } from './teachers.ts';
import { checkNamespace, type TfNamespace } from './tf.ts';

/** tfjs-core releases that this version was tested with. */
const TESTED_VERSION = '4.22.0';

/** What was registered before, by the function that stands in for it now; `undefined` where there was nothing. */
const replaced = /* @__PURE__ */ new Map<KernelConfig['kernelFunc'], KernelConfig | undefined>();
let warned = false;

/**
 * Registers MSD's kernels with TensorFlow.js, for the backends cpu, wasm and webgpu. Idempotent; calling it again replaces the
 * options. Import the backends first: with `override: true`, their kernels are wrapped as they are then.
 *
 * @param tf `import * as tf from '@tensorflow/tfjs'`, or tfjs-core alone, or the global `tf` of a script tag
 * @param options defaults for all operations
 * @throws `TypeError` if `tf` is no such namespace or an option is unknown, `RangeError` for a wrong value
 * @example
 * ```ts
 * import * as tf from '@tensorflow/tfjs-core';
 * import '@tensorflow/tfjs-backend-wasm';
 * import { register } from '@msd/tfjs';
 *
 * register(tf);
 * ```
 */
export function register(tf: TfNamespace, options: RegisterOptions = {}): void {
  checkNamespace(tf, 'register');
  const resolved = resolveOptions(options);
  warnUntested(tf);
  const known = registration();
  if (known) removeKernels(known.tf);
  setRegistration({ tf, options: resolved, converter: options.converter, layers: options.layers });
  for (const backendName of BACKENDS)
    for (const [kernelName, kernel] of Object.entries(kernels))
      replaceKernel(tf, {
        kernelName,
        backendName,
        kernelFunc: ({ inputs, attrs, backend }) =>
          kernel(inputs as never, attrs as never, requireHost(backend as object, backendName, kernelName)),
        disposeFunc: (backend) => disposeHost(backend as object),
      });
  tf.registerGradient(matMulGradient(tf) as never);
  tf.registerGradient(gatherGradient as never);
  mendGradients(tf);
  replaceStock(tf, MENDED, mended);
  if (resolved.override) replaceStock(tf, OVERRIDDEN, overridden);
  teachLoaders(requireRegistration('register'));
  if (isProbed(tf.getBackend())) void prepareBackend(tf);
}

/**
 * Takes MSD's kernels back; stock kernels run again. Quantized tensors and accelerated models stay, and work once it is
 * registered again. Idempotent.
 */
export function unregister(tf: TfNamespace): void {
  checkNamespace(tf, 'unregister');
  removeKernels(tf);
  disposeHosts(tf);
  sweepFloats(true);
  setRegistration(undefined);
}

function replaceKernel(tf: TfNamespace, config: KernelConfig): void {
  const { kernelName, backendName } = config;
  if (tf.getKernel(kernelName, backendName)) tf.unregisterKernel(kernelName, backendName); // else tfjs warns
  tf.registerKernel(config);
}

/** What MSD holds for backends: it outlives a change of options, as their tensors do. */
function disposeHosts(tf: TfNamespace): void {
  const { registry } = tf.engine();
  for (const backendName of BACKENDS) if (registry[backendName]) disposeHost(registry[backendName]);
}

function removeKernels(tf: TfNamespace): void {
  restoreGradients(tf);
  for (const backendName of BACKENDS)
    for (const kernelName of Object.keys(kernels))
      if (tf.getKernel(kernelName, backendName)) tf.unregisterKernel(kernelName, backendName);
  for (const backendName of BACKENDS)
    for (const kernelName of [...MENDED, ...OVERRIDDEN]) restoreStock(tf, kernelName, backendName);
  replaced.clear();
}

/** Puts a function of MSD's in place of each stock kernel that it has one for; another may follow. */
function replaceStock(
  tf: TfNamespace,
  names: readonly string[],
  standIn: (kernelName: string, backendName: string) => KernelConfig['kernelFunc'] | undefined,
): void {
  for (const backendName of BACKENDS)
    for (const kernelName of names) {
      const kernelFunc = standIn(kernelName, backendName);
      if (!kernelFunc) continue;
      const stock = tf.getKernel(kernelName, backendName);
      replaced.set(kernelFunc, stock);
      replaceKernel(tf, { ...stock, kernelName, backendName, kernelFunc });
    }
}

function restoreStock(tf: TfNamespace, kernelName: string, backendName: string): void {
  for (;;) {
    const current = tf.getKernel(kernelName, backendName);
    if (!current || !replaced.has(current.kernelFunc)) return;
    const stock = replaced.get(current.kernelFunc);
    if (stock) replaceKernel(tf, stock);
    else tf.unregisterKernel(kernelName, backendName);
  }
}

/** Says once that a combination is untested. It may well work. */
function warnUntested(tf: TfNamespace): void {
  const version = (tf as { version_core?: string }).version_core;
  if (warned || version === undefined || version === TESTED_VERSION) return;
  warned = true;
  console.warn(
    `MsdWarning: register: tfjs-core, expected ${TESTED_VERSION}, got ${version}, with which this version of @msd/tfjs was not tested.`,
  );
}
