/**
 * Which host a tfjs backend has. Kernels meet theirs on the first call, since tfjs runs no set-up for late ones. On WebGPU the
 * device has to be probed first: until {@link prepareHost} has resolved there is none, and weights are dequantized instead.
 */
import { BackendUnavailableError } from '@msd/core';
import type { DataId, Tensor, TfNamespace } from '../tf.ts';
import { cpuHost, hiddenHeapHost } from './copying-host.ts';
import { canRecord, gpuHost } from './gpu-host.ts';
import { heapHost, heapOf, type WasmTfBackend } from './heap-host.ts';
import type { Host } from './host.ts';

const GPU_BACKEND = 'webgpu';

/** Backends of tfjs that MSD has kernels for. */
export const BACKENDS: readonly string[] = ['cpu', 'wasm', GPU_BACKEND];

/** Does a backend have to be probed before MSD's kernels run on it? */
export const isProbed = (name: string): boolean => name === GPU_BACKEND;

/** Does JavaScript see a backend's tensors without waiting? */
export const isInMemory = (name: string): boolean => BACKENDS.includes(name) && !isProbed(name);

/** A tensor's values, if they can be seen without waiting for a GPU. */
export function valuesInMemory(tf: TfNamespace, tensor: Tensor): TypedArray | undefined {
  const { registry, state } = tf.engine() as unknown as TfEngine;
  const owner = state.tensorInfo.get(tensor.dataId)?.backend;
  if (BACKENDS.some((name) => isInMemory(name) && registry[name] === owner)) return tensor.dataSync() as TypedArray;
  return owner?.tensorMap?.get(tensor.dataId)?.values ?? undefined;
}

type TypedArray = Float32Array | Int32Array | Uint8Array;

/** What of tfjs's engine is asked: where a tensor is, and what the webgpu backend has of it on the CPU. */
interface TfEngine {
  readonly registry: Readonly<Record<string, object>>;
  readonly state: { readonly tensorInfo: { get(id: DataId): { readonly backend: TfBackend } | undefined } };
}
interface TfBackend {
  readonly tensorMap?: { get(id: DataId): { readonly values?: TypedArray | null } | undefined };
}

const hosts = /* @__PURE__ */ new WeakMap<object, Host>();
const pending = /* @__PURE__ */ new WeakMap<object, Promise<boolean>>();

/** The host of a backend, if MSD's kernels run on it now. */
export function hostOf(backend: object, name: string): Host | undefined {
  const known = hosts.get(backend);
  if (known || !isInMemory(name)) return known;
  const host = name === 'wasm' ? wasmHost(backend as WasmTfBackend) : cpuHost(backend);
  hosts.set(backend, host);
  return host;
}

/** The host of a backend, if it has been made and is still there. */
export const knownHost = (backend: object): Host | undefined => hosts.get(backend);

function wasmHost(backend: WasmTfBackend): Host {
  const heap = heapOf(backend);
  return heap ? heapHost(backend, heap) : hiddenHeapHost(backend);
}

/** Makes MSD ready on a backend that has to be probed. @returns false if there is nothing to probe, or no way to its tensors */
export function prepareHost(backend: object, name: string): Promise<boolean> {
  if (!isProbed(name)) return Promise.resolve(false);
  const known = pending.get(backend);
  if (known) return known;
  const preparing: Promise<boolean> = canRecord(backend)
    ? gpuHost(backend).then((host) => {
        if (pending.get(backend) === preparing) hosts.set(backend, host);
        else host.dispose(); // taken back meanwhile
        return true;
      })
    : Promise.resolve(false);
  pending.set(backend, preparing);
  return preparing;
}

/** @throws {@link BackendUnavailableError} if MSD's kernels do not run there now */
export function requireHost(backend: object, name: string, where: string): Host {
  const host = hostOf(backend, name);
  if (!host) throw new BackendUnavailableError(`${where}: MSD is not ready on ${name}. Await ready() first.`);
  return host;
}

/** Gives back what MSD holds for a backend. */
export function disposeHost(backend: object): void {
  hosts.get(backend)?.dispose();
  hosts.delete(backend);
  pending.delete(backend);
}
