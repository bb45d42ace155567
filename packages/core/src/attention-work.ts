/**
 * Attention for devices: its work, and the caches that it reads. A page that imports neither does not download them.
 */
import type { AttentionOp, AttentionRun, KvCache, KvShape, KvType } from './attention/contract.ts';
import { resolveKvShape } from './attention/kv-format.ts';
import type { AttentionWork, Device } from './backends/device.ts';
import { PagedKvCache } from './backends/kv-cache.ts';
import { attentionSpec } from './backends/wasm/attention-call.ts';

/**
 * @param run called at every run: gives the cache, and whatever differs from the run before
 * @param type of the caches, if it is known: then kernels are made when the work is bound, otherwise when it first runs
 * @param isAlone no other attention of a program uses its caches: `run` may be called before the steps in front of it
 */
export const attentionWork = (
  op: AttentionOp,
  run: () => AttentionRun<KvCache>,
  type?: KvType,
  isAlone?: boolean,
): AttentionWork => ({ kind: 'attention', spec: attentionSpec, op, run, type, isAlone });

/**
 * An empty cache of keys and values in a device's memory; pages are allocated when keys are added.
 *
 * @returns a cache that you own: dispose of it. Disposing of the device does it, too
 * @throws {@link RangeError} for an impossible shape; {@link UnsupportedError} on WebGPU
 */
export const createKvCache = <H>(device: Device<H>, shape: KvShape): KvCache =>
  new PagedKvCache(device, resolveKvShape(shape), attentionSpec);
