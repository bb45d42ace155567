/** Attention as textbooks have it, in float64: what every device is compared with. And a way to run it on any device. */

import type { AttentionRun } from '../src/attention/contract.ts';
import { type AttentionOp, type KvCache, rowMajor } from '../src/attention/contract.ts';
import { attentionWork } from '../src/attention-work.ts';
import type { Device } from '../src/backends/device.ts';

export interface Operands {
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly sinks?: Float32Array | undefined;
}

/** [B, rows, heads · d] of everything. */
export function opOf(
  shape: Pick<AttentionOp, 'batch' | 'rows' | 'heads' | 'kvHeads' | 'headSize' | 'valueSize'>,
  more: Partial<AttentionOp> = {},
): AttentionOp {
  const { rows, heads, kvHeads, headSize, valueSize } = shape;
  const newKeys = more.newKeys ?? rows;
  return {
    ...shape,
    newKeys,
    isCausal: true,
    q: rowMajor(rows, headSize, heads * headSize),
    k: rowMajor(newKeys, headSize, kvHeads * headSize),
    v: rowMajor(newKeys, valueSize, kvHeads * valueSize),
    out: rowMajor(rows, valueSize, heads * valueSize),
    ...more,
  };
}

/** Binds and runs once; [B, rows, heads, valueSize]. */
export async function run<H>(
  device: Device<H>,
  op: AttentionOp,
  { q, k, v, sinks }: Operands,
  now: AttentionRun<KvCache>,
): Promise<Float32Array> {
  const put = (data: Float32Array) => {
    const handle = device.alloc(Math.max(4, data.byteLength), 'test');
    if (data.length > 0) device.write(handle, data);
    return handle;
  };
  const out = new Float32Array(op.batch * op.rows * op.heads * op.valueSize);
  const operands = [put(q), op.newKeys ? put(k) : undefined, op.newKeys ? put(v) : undefined, sinks && put(sinks)];
  const all = [...operands, undefined, undefined, put(out)];
  const call = device.bind(
    attentionWork(op, () => now),
    all,
  );
  device.run(call);
  await device.read(all[6]!, out);
  for (const handle of all) if (handle !== undefined) device.free(handle);
  return out;
}
