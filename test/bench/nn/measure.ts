/** One case: results compared with the f32 reference, then all sides and the machine's peaks in turns. */
import type { ArenaHandle, WasmBackend } from '@msd/core';
import type { OpSpec, TensorType } from '@msd/core/nn';
import { mulAddPeak, readBandwidth } from '@msd/core/peaks';
import type * as Ort from 'onnxruntime-web';
import { callSource, type Source, takeTurns } from '../measure.ts';
import { type Measured, measured, round } from '../results.ts';
import { count, type Data, type NnCase, type NnEntry } from './cases/case.ts';
import { onnxSide } from './onnx-side.ts';

/** msd: a bound call in the arena. run: onnxruntime-web's `session.run`. node: one node of several in one run. */
export type NnSide = 'msd' | 'plain' | 'run' | 'node';

export interface NnResult {
  readonly op: string;
  readonly name: string;
  readonly M: number;
  /** That the call runs. */
  readonly kernels: readonly string[];
  /** Microseconds per call. */
  readonly us: Readonly<Record<NnSide, Measured>>;
  readonly bytes: number;
  readonly macs?: number;
  /** The machine's, in the same rounds: 10⁹ bytes read per second, multiplications and additions of f32. */
  readonly peaks: { readonly read: Measured; readonly mulAdd?: Measured };
  /** What of the nearest limit MSD reaches; absent where none is near. */
  readonly ofLimit?: number;
}

export interface MeasureNnOptions {
  readonly backend: WasmBackend;
  readonly ort: typeof Ort;
  readonly rounds: number;
}

/** Of peers, whose functions are their own approximations: relative to the largest value. */
const TOLERANCE = 2 ** -12;
/** Below this, a call's own price decides, and no share of a peak says anything. */
const LEAST_BYTES = 65536;
const ARRAYS = { f32: Float32Array, i32: Int32Array, bool: Uint8Array } as const;

/** @throws {@link Error} for a result that is not the reference's */
export async function measureNn(entry: NnEntry, M: number, options: MeasureNnOptions): Promise<NnResult> {
  const { backend, ort, rounds } = options;
  const { spec, name } = entry;
  const test = entry.at(M);
  const { inputs, macs } = test;
  const types = spec.infer(test.op, inputs);
  const want = types.map(empty);
  spec.reference!(
    test.op,
    inputs,
    want.map((data, i) => ({ ...types[i]!, data })),
    'float32',
  );
  const where = `${spec.name}, ${name}, M=${M}`;

  const { run, outputs, kernels, handles } = bound(backend, spec, test, types);
  run();
  compare(`${where}, MSD`, outputs(), want, 0);
  const plainOutputs = types.map(empty);
  const plainInputs = inputs.map((input) => input?.data as Data).filter(Boolean);
  const plain = () => test.plain(plainInputs, plainOutputs);
  plain();
  compare(`${where}, plain JavaScript`, plainOutputs, want, TOLERANCE);
  const peer = await onnxSide(ort, test, types);
  compare(`${where}, onnxruntime-web`, await peer.outputs(), want, TOLERANCE);

  const bytes = test.bytes ?? [...inputs, ...types].reduce((sum, type) => sum + (type ? bytesOf(type) : 0), 0);
  const { arena } = backend;
  const stretch = arena.alloc(Math.max(bytes, 4096), 'read');
  arena.bytes(stretch).fill(1); // pages that were never written are one and the same
  const scratch = arena.alloc(256, 'peaks');
  const peaks = [
    readBandwidth(arena.memory, stretch.ptr, stretch.byteLength, scratch.ptr),
    ...(test.limit === 'mulAdd' ? [mulAddPeak(arena.memory, scratch.ptr)] : []),
  ];
  const calls = [run, plain, peer.run, peer.one, peer.several, ...peaks.map((peak) => peak.run)];
  const sources: Source[] = [];
  for (const call of calls) sources.push(await callSource({ name: where, run: call }));
  const samples = await takeTurns(sources, rounds);
  await peer.release();
  for (const handle of [...handles, stretch, scratch]) arena.free(handle);

  const [own, loop, session, one, several] = samples as [number[], number[], number[], number[], number[]];
  const limits = samples.slice(-peaks.length);
  const nodes = several.map((ms, i) => Math.max(0, ms - one[i]!) / (peer.copies - 1));
  const us = (ms: readonly number[]) => measured(ms.map((value) => 1000 * value));
  const [read, mulAdd] = peaks.map(({ macs: work }, i) => measured(limits[i]!.map((ms) => work / ms / 1e6)));
  const result = {
    op: spec.name,
    name,
    M,
    kernels,
    us: { msd: us(own), plain: us(loop), run: us(session), node: us(nodes) },
    bytes,
    ...(macs !== undefined && { macs }),
    peaks: { read: read!, ...(mulAdd && { mulAdd }) },
  };
  const ofLimit = bytes >= LEAST_BYTES ? shareOf(test, result) : undefined;
  return { ...result, ...(ofLimit !== undefined && { ofLimit }) };
}

function shareOf({ limit }: NnCase<unknown>, { us, bytes, macs = 0, peaks }: NnResult): number | undefined {
  if (limit === undefined) return undefined;
  const least = limit === 'read' ? bytes / peaks.read.median : macs / peaks.mulAdd!.median;
  return round(least / 1000 / us.msd.median);
}

/** The op, bound to buffers of its own. */
function bound(
  backend: WasmBackend,
  spec: OpSpec<unknown>,
  { op, inputs }: NnCase<unknown>,
  types: readonly TensorType[],
) {
  const place = (byteLength: number) => backend.alloc(Math.max(4, byteLength), spec.name);
  const given = inputs.map((input): ArenaHandle | undefined => {
    if (!input) return undefined;
    const handle = place(input.data.byteLength);
    backend.write(handle, input.data);
    return handle;
  });
  const results = types.map((type) => place(bytesOf(type)));
  const call = backend.bind({ kind: 'op', spec, op, inputs }, [...given, ...results]);
  return {
    run: () => backend.run(call),
    outputs: () =>
      types.map((type, i) => {
        const data = empty(type);
        backend.read(results[i]!, data);
        return data;
      }),
    kernels: call.kernels,
    handles: [...given, ...results].filter((handle) => handle !== undefined),
  };
}

const empty = ({ dtype, dims }: TensorType): Data => new ARRAYS[dtype](count(dims));
const bytesOf = ({ dtype, dims }: TensorType): number => ARRAYS[dtype].BYTES_PER_ELEMENT * count(dims);

/** @param tolerance relative to the largest value; 0: the same bits */
function compare(what: string, got: readonly Data[], want: readonly Data[], tolerance: number): void {
  for (const [o, expected] of want.entries()) {
    const values = got[o]!;
    if (values.length !== expected.length)
      throw new Error(`${what}: output ${o} expected ${expected.length} values, got ${values.length}.`);
    let largest = 0;
    for (const value of expected) largest = Math.max(largest, Math.abs(value));
    for (let i = 0; i < expected.length; i++) {
      const [value, near] = [values[i]!, expected[i]!];
      if (Object.is(value, near) || Math.abs(value - near) < tolerance * largest) continue;
      throw new Error(`${what}: output ${o}, at ${i}: expected ${near}, got ${value}.`);
    }
  }
}
