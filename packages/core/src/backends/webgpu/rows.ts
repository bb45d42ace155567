/** The dispatches of look-ups and of the term of an offset: what frameworks need besides products. */
import { formats } from '../../formats/index.ts';
import { packedLayout } from '../../formats/layout.ts';
import { requireVersion } from '../../formats/packed.ts';
import { type RowSource, rowExtent, tableCodeBytes } from '../../lookup/contract.ts';
import { type LookupUse, lookupBuffers, lookupWorkgroups, wgslLookup, wgslLookupId } from '../../lookup/lookup.wgsl.ts';
import { f32Bits } from '../../numbers.ts';
import { OFFSET_ID, wgslOffset } from '../../recombine/offset.wgsl.ts';
import type { GpuBinding, GpuDevice } from './api.ts';
import { checkBindable, checkInside } from './arguments.ts';
import { bind, type Dispatch, describe } from './dispatch.ts';
import type { Live } from './live.ts';

/** Which rows, and where they go. */
export interface GpuRowsOptions {
  /** f32 [rows of the result, columns]; all rows of a matrix as [K,N]. Overwritten. */
  readonly out: GpuBinding;
  /** i32 [n]: the rows that are looked up, zeros for what is none. Default: all rows, in order. */
  readonly indices?: GpuBinding | undefined;
  /** Sums of looked-up rows instead: one result for each of `count` segments. */
  readonly segments?:
    | {
        /** i32 [n], from 0, never decreasing: the segment of each index. */
        readonly ids: GpuBinding;
        readonly count: number;
        /** Divides by how many a segment has. */
        readonly mean: boolean;
      }
    | undefined;
}

const useOf = ({ indices, segments }: GpuRowsOptions): LookupUse =>
  segments ? (segments.mean ? 'segment_mean' : 'segment_sum') : indices ? 'gather' : 'dequantize';

/** Id of the kernel of a look-up. */
export const rowsKernel = (source: RowSource, options: GpuRowsOptions): string =>
  wgslLookupId({ source, use: useOf(options) });

export function describeRows(live: Live, source: RowSource, where: GpuBinding, options: GpuRowsOptions): Dispatch[] {
  const { out, indices, segments } = options;
  if (source.kind === 'matrix') requireVersion(source, 'recordRows');
  const { rows, columns, byteLength } = rowExtent(source);
  if (segments && !indices) throw new TypeError('recordRows: segments need indices, got none.');
  const count = segments?.count ?? (indices ? indices.byteLength / 4 : rows);
  check(live.device, 'recordRows: where', where, byteLength, source.kind === 'matrix' ? 16 : 4);
  check(live.device, 'recordRows: out', out, 4 * count * columns);
  if (indices) check(live.device, 'recordRows: indices', indices, 4 * Math.ceil(indices.byteLength / 4));
  if (segments) check(live.device, 'recordRows: segments.ids', segments.ids, indices!.byteLength);
  for (const [name, operand] of Object.entries({ where, indices, ids: segments?.ids }))
    if (operand?.buffer === out.buffer)
      throw new RangeError(`recordRows: ${name} and out expected different GPU buffers, got one.`);
  if (count === 0) return [];

  const { device, codeTables } = live;
  const lookup = { source, use: useOf(options) };
  const [w, y] = [bind(device, where), bind(device, out)];
  const [index, ids] = [indices && bind(device, indices), segments && bind(device, segments.ids)];
  const real = source.kind === 'table' && source.codes === 'uint8' ? codeTables.get(source) : undefined;
  const ranges = { w: w.range, y: y.range, indices: index?.range, ids: ids?.range, real };
  const shared = (wAt: number) => [
    rows,
    columns,
    count,
    wAt,
    y.at,
    index?.at ?? 0,
    ids?.at ?? 0,
    segments ? indices!.byteLength / 4 : 0,
  ];
  const words =
    source.kind === 'matrix'
      ? [...shared(w.at / 4), ...matrixWords(source, byteLength)]
      : [...shared(w.at), w.at + tableCodeBytes(source) / 4, f32Bits(source.scale), f32Bits(source.min)];
  const bound = lookupBuffers(lookup).map((name) => ranges[name]!);
  const kernel = () => wgslLookup(lookup);
  return [describe(live, wgslLookupId(lookup), kernel, words, bound, lookupWorkgroups(count, columns))];
}

function matrixWords(source: RowSource & { kind: 'matrix' }, byteLength: number): number[] {
  const { paddedK, panels, panelBytes } = packedLayout(formats[source.format], source, source.N, source.K);
  return [paddedK, panels, panelBytes / 16, byteLength / source.planes / 16, f32Bits(source.offset)];
}

/** A product's x and y, and what was added to every weight. */
export interface GpuOffsetOptions {
  /** f32 [M,N], added to. */
  readonly out: GpuBinding;
  readonly M: number;
  readonly K: number;
  readonly N: number;
  readonly offset: number;
}

export function describeOffset(live: Live, x: GpuBinding, options: GpuOffsetOptions): Dispatch[] {
  const { out, M, K, N, offset } = options;
  check(live.device, 'recordOffset: x', x, 4 * M * K);
  check(live.device, 'recordOffset: out', out, 4 * M * N);
  if (x.buffer === out.buffer) throw new RangeError('recordOffset: x and out expected different GPU buffers, got one.');
  if (M * N === 0) return [];
  const [from, to] = [bind(live.device, x), bind(live.device, out)];
  const words = [M, K, N, from.at, to.at, f32Bits(offset)];
  return [describe(live, OFFSET_ID, wgslOffset, words, [from.range, to.range], M)];
}

function check(device: GpuDevice, name: string, given: GpuBinding, byteLength: number, align = 4): void {
  if (given.byteLength !== byteLength)
    throw new RangeError(`${name} expected ${byteLength} bytes, got ${given.byteLength}.`);
  checkInside(name, given, align);
  checkBindable(name, given, device);
}
