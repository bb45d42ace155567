/**
 * Appends keys and values from JavaScript arrays to a cache like those of a run: through the device's kernels, some at
 * a time.
 */
import { headMajor } from '../attention/contract.ts';
import type { AttentionSpec, Device } from './device.ts';
import type { PagedKvCache } from './kv-cache.ts';

/** Keys that are copied to the device at a time. */
const CHUNK = 256;

/**
 * @param k f32 [B, kvHeads, keys, headSize]
 * @param v f32 [B, kvHeads, keys, valueSize]
 */
export function appendArrays<H>(
  cache: PagedKvCache<H>,
  spec: AttentionSpec,
  k: Float32Array,
  v: Float32Array,
  keys: number,
): void {
  const { shape, backend: device } = cache;
  const { batch, kvHeads, headSize, valueSize } = shape;
  const most = Math.min(keys, CHUNK);
  const block = device.alloc(4 * batch * kvHeads * most * (headSize + valueSize), 'KV rows');
  try {
    const parts = [0, 4 * batch * kvHeads * most * headSize];
    const call = (count: number) => {
      const at = [headSize, valueSize].map((size, i) =>
        device.part(block, parts[i], 4 * batch * kvHeads * count * size),
      );
      const rows = 0;
      const strides = (size: number) => headMajor(kvHeads, count, size);
      const op = {
        ...{ batch, rows, newKeys: count, heads: kvHeads, kvHeads, headSize, valueSize, isCausal: false },
        ...{ q: strides(0), k: strides(headSize), v: strides(valueSize), out: strides(0) },
      };
      const nothing = device.part(block, 0, 0);
      const bound = device.bind({ kind: 'attention', spec, op, run: () => ({ cache }) }, [
        nothing,
        ...at,
        undefined,
        undefined,
        undefined,
        nothing,
      ]);
      return { bound, count, at };
    };
    const whole = call(most);
    const rest = keys % most === 0 ? whole : call(keys % most);
    for (let begin = 0; begin < keys; begin += most) {
      const { bound, count, at } = begin + most <= keys ? whole : rest;
      copyRows(device, at[0], k, keys, begin, count, headSize);
      copyRows(device, at[1], v, keys, begin, count, valueSize);
      device.run(bound);
    }
  } finally {
    device.free(block);
  }
}

/** Rows [begin, begin + count) of every head, head by head. */
function copyRows<H>(
  device: Device<H>,
  to: H,
  from: Float32Array,
  keys: number,
  begin: number,
  count: number,
  size: number,
): void {
  for (let head = 0; (head + 1) * keys * size <= from.length; head++) {
    const at = (head * keys + begin) * size;
    const bytes = 4 * count * size;
    device.write(device.part(to, head * bytes, bytes), from.subarray(at, at + count * size));
  }
}
