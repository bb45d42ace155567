/** A run of attention by the reference: keys and values go into the cache, and everything is computed from what it stores. */
import { attentionReference } from '../attention/attention.reference.ts';
import type { HeadStrides, ScoreArray } from '../attention/contract.ts';
import { placeOf } from '../attention/rows.ts';
import type { Arithmetic } from '../decompose/decompose.reference.ts';
import { resolveRun } from './attention-arguments.ts';
import type { AttentionWork, PageDevice } from './device.ts';
import { fillCache, storedIn } from './kv-reference.ts';

/** Operands as copies, in the order of the work's: `undefined` where there is none. */
export type OperandCopies = readonly (ArrayBuffer | undefined)[];

/** @returns what `out` holds then: its elements between heads and rows as they were */
export function runReference<H>(
  work: AttentionWork,
  device: PageDevice<H>,
  operands: OperandCopies,
  arithmetic: Arithmetic,
): Float32Array {
  const { op } = work;
  const run = resolveRun(work, device);
  const { cache, past, counts } = run;
  const [q, k, v, sinks, bias, mask, out] = operands;
  if (op.newKeys > 0) {
    cache.open(past, counts);
    fillCache(cache, past, rowsOf(k!, op.k!, op.headSize), rowsOf(v!, op.v!, op.valueSize));
  }
  const result = new Float32Array(out!);
  attentionReference(
    op,
    {
      ...run,
      q: new Float32Array(q!),
      sinks: sinks && new Float32Array(sinks),
      bias: run.bias ?? scores(op.bias, bias && new Float32Array(bias)),
      mask: run.mask ?? scores(op.mask, mask && new Uint8Array(mask)),
    },
    (sequence, head) => storedIn(cache, sequence, head),
    result,
    arithmetic,
  );
  return result;
}

function rowsOf(bytes: ArrayBuffer, strides: HeadStrides, size: number) {
  const values = new Float32Array(bytes);
  return (b: number, h: number, m: number): Float32Array => {
    const at = placeOf(strides, { b, h, m });
    return values.subarray(at, at + size);
  };
}

const scores = <Data extends Float32Array | Uint8Array>(
  dims: ScoreArray<Data>['dims'] | undefined,
  data: Data | undefined,
): ScoreArray<Data> | undefined => dims && data && { dims, data };
