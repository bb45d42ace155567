/** One number over attention's results: equal wherever the f32 contract holds, however a prompt is cut. */
import { type AttentionOp, type KvType, rowMajor } from '../src/attention/contract.ts';
import { attentionWork, createKvCache } from '../src/attention-work.ts';
import type { Device } from '../src/backends/device.ts';
import { random } from './random.ts';

/** What {@link attentionBits} gave in all engines, with each cut, carrier and number of threads. */
export const RECORDED_ATTENTION = 'c199b5ff';

/** Keys of a prompt: two whole pages, and a part of one. */
const KEYS = 150;
/** How a prompt is cut: tokens of a run. The first is decoding, the last is all at once. */
export const CUTS = [1, 7, 64, KEYS] as const;

interface Case extends Pick<AttentionOp, 'heads' | 'kvHeads' | 'headSize' | 'valueSize' | 'window' | 'softcap'> {
  readonly type: KvType;
  readonly hasSinks?: boolean;
}

const CASES: readonly Case[] = [
  { type: 'int16', heads: 6, kvHeads: 2, headSize: 64, valueSize: 64 },
  { type: 'int8', heads: 6, kvHeads: 2, headSize: 64, valueSize: 64 },
  { type: 'float', heads: 6, kvHeads: 2, headSize: 64, valueSize: 64 },
  { type: 'int16', heads: 3, kvHeads: 3, headSize: 24, valueSize: 40, window: 70, softcap: 30, hasSinks: true },
  { type: 'int8', heads: 5, kvHeads: 1, headSize: 16, valueSize: 16, window: 9 },
];

/** FNV-1a over the bits of the results of every case, row after row. Inputs use no Math function but sqrt. */
export function attentionBits<H>(device: Device<H>, cut: number): string {
  let hash = 0x811c9dc5;
  for (const [seed, test] of CASES.entries())
    for (const bits of new Uint32Array(attend(device, test, seed, cut).buffer))
      hash = Math.imul(hash ^ bits, 0x01000193) >>> 0;
  return hash.toString(16).padStart(8, '0');
}

/** Reads a prompt in runs of `cut` tokens. */
function attend<H>(device: Device<H>, test: Case, seed: number, cut: number): Float32Array {
  const { type, hasSinks, ...rest } = test;
  const { heads, kvHeads, headSize, valueSize } = rest;
  const next = random(seed + 1);
  const values = (columns: number, size: number) =>
    Float32Array.from({ length: KEYS * columns }, () => (next() - 0.5) * size);
  const [q, k, v] = [values(heads * headSize, 4), values(kvHeads * headSize, 3), values(kvHeads * valueSize, 2)];
  for (let t = 0; t < KEYS; t++) k[t * kvHeads * headSize + 3]! += 20; // a channel that sticks out
  const sinks = hasSinks ? put(device, values(heads, 1).subarray(0, heads)) : undefined;
  const cache = createKvCache(device, { batch: 1, kvHeads, headSize, valueSize, type });
  const result = new Float32Array(KEYS * heads * valueSize);
  for (let past = 0; past < KEYS; past += cut) {
    const rows = Math.min(cut, KEYS - past);
    const part = (all: Float32Array, columns: number) =>
      put(device, all.slice(past * columns, (past + rows) * columns));
    const inputs = [part(q, heads * headSize), part(k, kvHeads * headSize), part(v, kvHeads * valueSize)];
    const out = device.alloc(4 * rows * heads * valueSize, 'out');
    const op: AttentionOp = {
      ...rest,
      batch: 1,
      rows,
      newKeys: rows,
      isCausal: true,
      q: rowMajor(rows, headSize, heads * headSize),
      k: rowMajor(rows, headSize, kvHeads * headSize),
      v: rowMajor(rows, valueSize, kvHeads * valueSize),
      out: rowMajor(rows, valueSize, heads * valueSize),
    };
    const work = attentionWork(op, () => ({ cache }));
    const call = device.bind(work, [...inputs, sinks, undefined, undefined, out]);
    device.run(call);
    device.read(out, result.subarray(past * heads * valueSize, (past + rows) * heads * valueSize));
    for (const handle of [...inputs, out]) device.free(handle);
  }
  cache.dispose();
  if (sinks !== undefined) device.free(sinks);
  return result;
}

function put<H>(device: Device<H>, data: Float32Array): H {
  const handle = device.alloc(data.byteLength, 'test');
  device.write(handle, data);
  return handle;
}
