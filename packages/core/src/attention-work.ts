/** Attention for devices: its work, and the caches that it reads. Who imports neither of them downloads neither. */
import type { AttentionOp, AttentionRun, KvCache, KvShape, KvType } from './attention/contract.ts';
import { resolveKvShape } from './attention/kv-format.ts';
import type { AttentionWork, Device } from './backends/device.ts';
import { PagedKvCache } from './backends/kv-cache.ts';
import { attentionSpec } from './backends/wasm/attention-call.ts';

/**
 * @param run asked at every run of the call: the cache, and what is other than the run before
 * @param type of the caches, if it is known: kernels are made when the work is bound, else when it runs first
 */
export const attentionWork = (op: AttentionOp, run: () => AttentionRun<KvCache>, type?: KvType): AttentionWork => ({
  kind: 'attention',
  spec: attentionSpec,
  op,
  run,
  type,
});

/**
 * An empty cache of keys and values in a device's memory; it takes pages when keys come.
 *
 * @returns the caller's: dispose it; the device does at the latest
 * @throws {@link RangeError} for a shape that cannot be; {@link UnsupportedError} on WebGPU
 */
export const createKvCache = <H>(device: Device<H>, shape: KvShape): KvCache =>
  new PagedKvCache(device, resolveKvShape(shape), attentionSpec);
