/** One case: the bound call compared with what textbooks compute, then it, its stages, the gemm tile and a peer in turns. */
import type * as Ort from 'onnxruntime-web';
import { attendSpec, attendVariants } from '../../../packages/core/src/attention/attend.wasm.ts';
import { PAGE_KEYS } from '../../../packages/core/src/attention/contract.ts';
import { resolveKvShape } from '../../../packages/core/src/attention/kv-format.ts';
import { taskScratch, tilingFor } from '../../../packages/core/src/attention/scratch.ts';
import { attentionWork } from '../../../packages/core/src/attention-work.ts';
import { PagedKvCache } from '../../../packages/core/src/backends/kv-cache.ts';
import { attentionSpec } from '../../../packages/core/src/backends/wasm/attention-call.ts';
import { ATTEND_BYTE, AttentionWords } from '../../../packages/core/src/backends/wasm/attention-words.ts';
import { WasmBackend } from '../../../packages/core/src/backends/wasm/backend.ts';
import { instantiate } from '../../../packages/core/src/wasm/instantiate.ts';
import { type Clock, callSource, type Source, takeTurns } from '../measure.ts';
import { type Measured, measured } from '../results.ts';
import { type AttentionCase, type AttentionData, caseName, dataOf, exactRows } from './case.ts';
import { gemmTile } from './gemm-tile.ts';
import { groupQueryAttention } from './onnx-side.ts';
import { emitStage, STAGES, type Stage, stageId, turnsFor } from './stages.ts';

export interface AttentionResult extends AttentionCase {
  /** Microseconds: of a bound call with its new keys, of attend alone, and of a session.run. */
  readonly us: { readonly call: Measured; readonly attend: Measured; readonly run?: Measured };
  /** 10⁹ multiplications of queries with keys (weights with values) per second. */
  readonly gmacs: { readonly scores: Measured; readonly values: Measured; readonly gemm: Measured };
  /** Nanoseconds per key and head. */
  readonly softmax: Measured;
  /** Nanoseconds per query and head: taking it, and making its integers. */
  readonly queries: Measured;
}

export interface MeasureAttentionOptions {
  readonly ort: typeof Ort;
  readonly rounds: number;
  readonly clock: Clock;
}

/** Relative to the values, whose errors those of the format are. */
export const TOLERANCE = { int16: 3e-4, int8: 4e-2, float: 2e-5 } as const;

/** @throws {@link Error} for a result that is not attention's */
export async function measureAttention(
  test: AttentionCase,
  { ort, rounds, clock }: MeasureAttentionOptions,
): Promise<AttentionResult> {
  const data = dataOf(test);
  const backend = new WasmBackend({ carrier: 'i16' });
  const bound = bindCase(backend, test, data);
  bound.run();
  check(`${caseName(test)}, MSD`, exactRows(test, data), bound.out(), TOLERANCE[test.type]);
  const peer = test.type === 'float' ? await groupQueryAttention(ort, test, data) : undefined;
  if (peer) check(`${caseName(test)}, onnxruntime-web`, exactRows(test, data), await peer.out(), TOLERANCE.float);

  const { heads, rows, keys, headSize } = test;
  const opened = bound.opened();
  const gemm = gemmTile(backend, Math.min(heads * rows, 64));
  const calls = [
    bound.run,
    opened.attend,
    ...STAGES.map((stage) => opened.stage(stage)),
    gemm.run,
    ...(peer ? [peer.run] : []),
  ];
  const sources: Source[] = []; // the system's CPU time may come in steps of 4 ms
  for (const run of calls)
    sources.push(await callSource({ name: caseName(test), run }, { clock, sampleMs: clock === 'cpu' ? 60 : 8 }));
  const [call, attend, queries, scores, softmax, values, tile, session] = (await takeTurns(
    sources,
    rounds,
  )) as number[][];
  await peer?.release();
  const turns = turnsFor(keys);
  const seen = rows * keys - (rows * (rows - 1)) / 2;
  const each = (ms: readonly number[] | undefined, of: (ms: number) => number) => measured(ms!.map(of));
  const rate = (macs: number) => (ms: number) => macs / ms / 1e6;
  const us = (ms: number) => 1000 * ms;
  return {
    ...test,
    us: { call: each(call, us), attend: each(attend, us), ...(session && { run: each(session, us) }) },
    gmacs: {
      scores: each(scores, rate(turns * heads * seen * headSize)),
      values: each(values, rate(turns * heads * seen * headSize)),
      gemm: each(tile, rate(gemm.macs)),
    },
    softmax: each(softmax, (ms) => (1e6 * ms) / turns / heads / seen),
    queries: each(queries, (ms) => (1e6 * ms) / turns / heads / rows),
  };
}

/** The call in an arena of its own; its stages look at the words that it left in scratch. */
export function bindCase(backend: WasmBackend, { type, rows, keys }: AttentionCase, { op, q, k, v }: AttentionData) {
  const { arena } = backend;
  const cache = new PagedKvCache(
    backend,
    resolveKvShape({ batch: 1, kvHeads: 1, headSize: op.headSize, type }),
    attentionSpec,
  );
  const put = (values: Float32Array) => {
    const handle = backend.alloc(values.byteLength, 'attention');
    backend.write(handle, values);
    return handle;
  };
  const before = keys - rows;
  const width = op.headSize;
  const out = put(new Float32Array(q.length));
  const past = [before];
  if (before > 0) {
    const first = { ...op, rows: 0, newKeys: before };
    const work = attentionWork(first, () => ({ cache }));
    const [old, values] = [put(k.subarray(0, before * width)), put(v.subarray(0, before * width))];
    backend.run(backend.bind(work, [out, old, values, undefined, undefined, undefined, put(new Float32Array(1))]));
    for (const handle of [old, values]) backend.free(handle);
  }
  const news = [q, k.subarray(before * width), v.subarray(before * width)].map(put);
  const now = { cache, past };
  const call = backend.bind(
    attentionWork(op, () => now),
    [...news, undefined, undefined, undefined, out],
  );
  return {
    run: () => backend.run(call),
    out: () => {
      const values = new Float32Array(q.length);
      backend.read(out, values);
      return values;
    },
    /** Kernels on what the cache holds then. */
    opened: () => {
      const tiling = tilingFor(op, 1);
      const { tasks } = tiling;
      const task = taskScratch(op, type, tiling.rows * tiling.heads, Math.ceil(keys / PAGE_KEYS));
      const words = new AttentionWords(op, tiling);
      const image = arena.alloc(words.image.byteLength, 'words');
      const scratch = arena.alloc(task.byteLength, 'tasks');
      const places = { image: image.ptr, bias: 0, mask: 0, row: 0, integersInRow: 0, tasks: scratch.ptr };
      words.settle(cache.shape, places, task);
      words.place([...news.map(({ ptr }) => ptr), 0, 0, 0, out.ptr]);
      const [counts, starts] = [[rows], [0]];
      const queries = { past, counts, queries: counts, positions: past, starts };
      words.run({ cache, isCausal: true, ...queries, bias: undefined, mask: undefined });
      arena.write(image, words.image);
      const attend = image.ptr + ATTEND_BYTE;
      const options = [...attendVariants()].find((each) => call.kernels.includes(attendSpec.id(each)))!;
      const kernel = instantiate(arena.memory, attendSpec.id(options), (module) => attendSpec.emit(module, options));
      return {
        attend: () => kernel(attend, 0, tasks, 0),
        stage: (stage: Stage) => {
          const kernel = instantiate(arena.memory, stageId(options, stage), (module) =>
            emitStage(module, options, stage),
          );
          return () => kernel(attend, tasks, turnsFor(keys));
        },
      };
    },
  };
}

/** @throws {@link Error} if values are off by more than a share of the largest ones */
export function check(what: string, want: ReturnType<typeof exactRows>, got: Float32Array, tolerance: number): void {
  for (const { at, values } of want) {
    const most = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    for (const [c, value] of values.entries())
      if (!(Math.abs(got[at + c]! - value) <= tolerance * most))
        throw new Error(`${what}: output ${at + c} expected ${value}, got ${got[at + c]}.`);
  }
}
