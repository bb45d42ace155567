/**
 * A product that is submitted at once: typed arrays are uploaded before, results that are asked for as one are read back. A
 * slice of rows at a time; each slice stages its own, and the queue puts the writes between the submissions.
 */
import type { Decomposition } from '../../decompose/contract.ts';
import { GpuError } from '../../errors.ts';
import { type GpuBinding, type GpuBuffer, MAP_MODE_READ } from './api.ts';
import type { GpuScratchName } from './buffers.ts';
import { record } from './dispatch.ts';
import { forgetRefused, type Live, watch } from './live.ts';
import type { GpuMatmulOptions } from './options.ts';
import { describeProducts, type GpuEnd, gemmId, rowsOf, sliceRows } from './product.ts';
import type { Session } from './session.ts';
import { writeBytes } from './storage.ts';
import type { GpuWeights } from './weights.ts';

/** Part of a result that is on its way back. */
interface Readback {
  readonly buffer: GpuBuffer;
  /** First value of the result, and how many. */
  readonly at: number;
  readonly values: number;
}

/** @param options checked, like everything else */
export async function submitMatmul(
  session: Session,
  x: Float32Array | GpuBinding,
  prepared: GpuWeights,
  options: GpuMatmulOptions,
  { M, decomposition }: { readonly M: number; readonly decomposition: Decomposition },
): Promise<Float32Array | GpuBinding> {
  const { out } = options;
  const into = out instanceof Float32Array ? undefined : out;
  const array = into ? undefined : ((out as Float32Array | undefined) ?? new Float32Array(M * prepared.N));
  if (M === 0) return into ?? array!;
  const { live } = session;
  const { device, readbacks } = live;
  session.submit(); // what was run before, under its own name
  const scopes = watch(device);
  const pending: Readback[] = [];
  const rowsMax = sliceRows(device, prepared.N, prepared.K);
  try {
    for (let m = 0; m < M; m += rowsMax)
      submitSlice(live, x, prepared, options, { m, rows: Math.min(rowsMax, M - m), decomposition }, into, pending);
  } catch (error) {
    await scopes.end();
    for (const { buffer } of pending) readbacks.drop(buffer);
    throw error;
  }
  const mapped = pending.map(({ buffer, values }) => buffer.mapAsync(MAP_MODE_READ, 0, 4 * values));
  const ended = scopes.end(); // scopes nest: they are taken down before anything else can run
  const results = await Promise.allSettled(mapped);
  const problem = await ended;
  const failed = results.find((result) => result.status === 'rejected');
  if (problem) forgetRefused(live, problem);
  if (problem || failed || live.lost) {
    for (const { buffer } of pending) readbacks.drop(buffer);
    session.checkDisposed();
    session.checkLive();
    throw new GpuError(
      `matmul: the GPU refused ${gemmId(live, prepared, M, decomposition)}: ${problem?.message ?? failed?.reason}`,
    );
  }
  for (const { buffer, at, values } of pending) {
    array!.set(new Float32Array(buffer.getMappedRange(0, 4 * values)), at);
    buffer.unmap();
    readbacks.give(buffer);
  }
  return into ?? array!;
}

interface Slice {
  readonly m: number;
  readonly rows: number;
  readonly decomposition: Decomposition;
}

function submitSlice(
  live: Live,
  x: Float32Array | GpuBinding,
  prepared: GpuWeights,
  options: GpuMatmulOptions,
  { m, rows, decomposition }: Slice,
  into: GpuBinding | undefined,
  pending: Readback[],
): void {
  const { scratch, readbacks, recorder, device } = live;
  const { N, K } = prepared;
  const { bias, activation } = options;
  const stage = (name: GpuScratchName, values: Float32Array): GpuBinding => {
    const { byteLength } = values;
    const to = { buffer: scratch.reserve(name, byteLength), byteLength };
    writeBytes(device.queue, to, values);
    return to;
  };
  const staged = (name: GpuScratchName, operand: Float32Array | GpuBinding, width: number) =>
    operand instanceof Float32Array
      ? stage(name, operand.subarray(m * width, (m + rows) * width))
      : rowsOf(operand, m, rows, width);
  const out = into
    ? rowsOf(into, m, rows, N)
    : { buffer: scratch.reserve('y', 4 * rows * N), byteLength: 4 * rows * N };
  const end: GpuEnd = {
    out,
    bias: bias instanceof Float32Array ? stage('bias', bias) : bias,
    multiply: options.multiply && staged('multiply', options.multiply, N),
    residual: options.residual && staged('residual', options.residual, N),
    activation,
  };
  const dispatches = describeProducts(live, staged('x', x, K), [prepared], [end], rows, decomposition);
  const readback = into ? undefined : readbacks.take(4 * rows * N);
  record(recorder.pass, dispatches);
  if (readback) {
    recorder.copy(out.buffer, 0, readback, 4 * rows * N);
    pending.push({ buffer: readback, at: m * N, values: rows * N });
  }
  recorder.submit();
}
