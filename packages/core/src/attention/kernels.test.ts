import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { exactDot } from '../../test/exact-dot.ts';
import { checkFamily, kernelOn } from '../../test/kernels.ts';
import { kernelHashes } from '../../test/ops.ts';
import { canShare, waitForItsThreads } from '../../test/patience.ts';
import { firstDifference, gaussians, random } from '../../test/random.ts';
import { type ValueKind, values } from '../../test/values.ts';
import { attentionWork, createKvCache } from '../attention-work.ts';
import type { Device } from '../backends/device.ts';
import { WasmBackend } from '../backends/wasm/backend.ts';
import { unrolls } from '../gemm/registry.ts';
import { createBackend } from '../index.ts';
import { threadPool } from '../threads/pool.ts';
import { createTeam } from '../threads/team.ts';
import { relaxedDot } from '../wasm/features.ts';
import { appendSpec, appendVariants } from './append.wasm.ts';
import { type AttendOptions, attendSpec, attendVariants } from './attend.wasm.ts';
import {
  type AttentionOp,
  type AttentionRun,
  headMajor,
  type KvCache,
  type KvShape,
  type KvType,
  rowMajor,
  type ScoreDims,
} from './contract.ts';
import { paddedValue, pageLayout } from './page.ts';
import { attentionKernels } from './registry.ts';
import { taskScratch } from './scratch.ts';
import { fillAttendTrial } from './trial.ts';
import { WORK } from './work.ts';

interface Case {
  readonly op: AttentionOp;
  readonly shape: KvShape;
  readonly past: readonly number[];
  /** In chunks of at most so many rows. */
  readonly chunk: number;
  readonly run: Omit<AttentionRun<KvCache>, 'cache' | 'past'>;
  readonly kind: ValueKind;
  readonly seed: number;
  readonly hasSinks: boolean;
  readonly areOperands: boolean;
}

const TYPES: readonly KvType[] = ['int16', 'int8', 'float'];
const wholeOrOne = fc.boolean();

const cases: fc.Arbitrary<Case> = fc
  .record({
    type: fc.constantFrom(...TYPES),
    batch: fc.integer({ min: 1, max: 2 }),
    kvHeads: fc.integer({ min: 1, max: 3 }),
    groups: fc.constantFrom(1, 2, 3, 4, 7, 16),
    headSize: fc.constantFrom(1, 3, 8, 15, 16, 20, 33, 64, 80),
    valueSize: fc.constantFrom(undefined, 1, 7, 16, 40),
    rows: fc.constantFrom(1, 1, 2, 3, 5, 9, 70),
    newKeys: fc.constantFrom<'rows' | 'none' | 3>('rows', 'none', 3),
    past: fc.array(fc.constantFrom(0, 1, 5, 40, 62, 63, 64, 65, 100, 127, 128, 130, 200), {
      minLength: 2,
      maxLength: 2,
    }),
    isCausal: fc.boolean(),
    window: fc.constantFrom(undefined, undefined, 1, 7, 64, 90),
    softcap: fc.constantFrom(undefined, undefined, 5),
    scale: fc.constantFrom(undefined, 0.3),
    alibi: fc.constantFrom(false, false, true),
    bias: fc.option(fc.tuple(wholeOrOne, wholeOrOne, wholeOrOne, wholeOrOne)),
    mask: fc.option(fc.tuple(wholeOrOne, wholeOrOne, wholeOrOne, wholeOrOne)),
    hasSinks: fc.boolean(),
    areOperands: fc.boolean(),
    isHeadMajor: fc.boolean(),
    starts: fc.option(fc.array(fc.integer({ min: 0, max: 70 }), { minLength: 2, maxLength: 2 })),
    drops: fc.constantFrom(0, 0, 1, 2),
    factors: fc.constantFrom(undefined, undefined, false),
    isInterleaved: fc.boolean(),
    chunk: fc.constantFrom(1, 50, 1000),
    kind: fc.constantFrom<ValueKind>('gaussian', 'gaussian', 'gaussian', 'offset', 'magnitudes', 'special', 'zeros'),
    seed: fc.integer(),
  })
  .map((given): Case => {
    const { batch, kvHeads, groups, headSize, valueSize = headSize, rows, isHeadMajor, chunk, kind, seed } = given;
    const heads = kvHeads * groups;
    const newKeys = given.newKeys === 'rows' ? rows : given.newKeys === 'none' ? 0 : given.newKeys;
    const past = given.past.slice(0, batch);
    const next = random(seed);
    const longest = Math.max(...past) + newKeys;
    const whole = [batch, heads, rows, longest + 3];
    const dimsOf = (ones: readonly boolean[] | null) =>
      ones ? (whole.map((size, i) => (ones[i] ? 1 : size)) as unknown as ScoreDims) : undefined;
    const [bias, mask] = [dimsOf(given.bias), dimsOf(given.mask)];
    const length = (dims: ScoreDims) => dims.reduce((a, b) => a * b, 1);
    const biasData = bias && values(next, 'gaussian', length(bias)).map((b) => (next() < 0.1 ? -Infinity : b));
    const maskData =
      mask && Uint8Array.from({ length: length(mask) }, () => (next() < 0.7 ? 1 + Math.floor(next() * 255) : 0));
    const place = (count: number, n: number, size: number) =>
      isHeadMajor ? headMajor(count, n, size) : rowMajor(n, size, count * size + 3);
    const { areOperands, drops } = given;
    return {
      shape: {
        batch,
        kvHeads,
        headSize,
        valueSize,
        type: given.type,
        factors: given.factors,
        isInterleaved: given.isInterleaved,
      },
      op: {
        batch,
        rows,
        newKeys,
        heads,
        kvHeads,
        headSize,
        valueSize,
        scale: given.scale,
        isCausal: given.isCausal,
        window: given.window,
        softcap: given.softcap,
        alibi: given.alibi ? Array.from({ length: heads }, (_, h) => 2 ** -(h + 1)) : undefined,
        bias: areOperands ? bias : undefined,
        mask: areOperands ? mask : undefined,
        q: place(heads, rows, headSize),
        k: place(kvHeads, newKeys, headSize),
        v: place(kvHeads, newKeys, valueSize),
        out: place(heads, rows, valueSize),
      },
      run: {
        counts: drops && newKeys > 0 ? past.map((_, b) => Math.max(0, newKeys - (b % 2 ? 0 : drops))) : undefined,
        positions: newKeys === 0 ? past.map((length) => Math.max(0, length - rows)) : undefined,
        starts: given.starts?.slice(0, batch),
        bias: bias && { dims: bias, data: biasData! },
        mask: mask && { dims: mask, data: maskData! },
      },
      past,
      chunk,
      kind,
      seed,
      hasSinks: given.hasSinks,
      areOperands,
    };
  });

const size = ({ batch, row, head }: AttentionOp['q'], b: number, rows: number, heads: number, n: number) =>
  b * batch + rows * row + heads * head + n;

/** Fills the cache, runs once; what `out` holds then. */
async function outcome<H>(device: Device<H>, { op, shape, past, chunk, run, kind, seed, hasSinks, areOperands }: Case) {
  const next = random(seed + 1);
  const cache = createKvCache(device, shape);
  const { kvHeads, headSize, valueSize, heads, batch, rows, newKeys } = op;
  const longest = Math.max(...past);
  const handles: H[] = [];
  const put = (data: Float32Array | Uint8Array) => {
    const handle = device.alloc(Math.max(4, data.byteLength), 'test');
    handles.push(handle);
    device.write(handle, data);
    return handle;
  };
  for (let at = 0; at < longest; at += chunk) {
    const keys = Math.min(chunk, longest - at);
    const k = values(next, kind, batch * kvHeads * keys * headSize);
    const v = values(next, kind, batch * kvHeads * keys * valueSize);
    const fill: AttentionOp = {
      ...op,
      rows: 0,
      newKeys: keys,
      bias: undefined,
      mask: undefined,
      k: headMajor(kvHeads, keys, headSize),
      v: headMajor(kvHeads, keys, valueSize),
    };
    const operands = [
      put(new Float32Array(1)),
      put(k),
      put(v),
      undefined,
      undefined,
      undefined,
      put(new Float32Array(1)),
    ];
    device.run(
      device.bind(
        attentionWork(fill, () => ({ cache })),
        operands,
      ),
    );
  }
  cache.truncate(past);
  const q = values(next, kind, size(op.q, batch - 1, rows - 1, heads - 1, headSize));
  const k = values(next, kind, newKeys && size(op.k!, batch - 1, newKeys - 1, kvHeads - 1, headSize));
  const v = values(next, kind, newKeys && size(op.v!, batch - 1, newKeys - 1, kvHeads - 1, valueSize));
  const out = values(next, 'gaussian', size(op.out, batch - 1, rows - 1, heads - 1, valueSize));
  const operands = [
    put(q),
    newKeys ? put(k) : undefined,
    newKeys ? put(v) : undefined,
    hasSinks ? put(values(next, 'gaussian', heads)) : undefined,
    areOperands && run.bias ? put(run.bias.data) : undefined,
    areOperands && run.mask ? put(run.mask.data) : undefined,
    put(out),
  ];
  const { bias, mask, ...rest } = run;
  const now = areOperands ? rest : run;
  const call = device.bind(
    attentionWork(op, () => ({ cache, past, ...now })),
    operands,
  );
  device.run(call);
  await device.read(operands[6]!, out);
  const lengths = cache.lengths;
  const longestNow = Math.max(...lengths);
  const [keys, stored] = [cache.keys(longestNow), cache.values(longestNow)];
  cache.dispose();
  for (const handle of handles) device.free(handle);
  return { keys, values: stored, out };
}

/** Caches and outputs of both devices have the same bits. */
const expectSame = <A, B>(one: Device<A>, other: Device<B>, numRuns: number): Promise<void> =>
  fc.assert(
    fc.asyncProperty(cases, async (given) => {
      const want = await outcome(one, given);
      const got = await outcome(other, given);
      for (const name of ['keys', 'values', 'out'] as const) {
        const at = firstDifference(got[name], want[name]);
        if (at >= 0) throw new Error(`${name} at ${at}: expected ${want[name][at]}, got ${got[name][at]}`);
      }
    }),
    { numRuns },
  );

beforeAll(waitForItsThreads);

describe('attention in WASM', () => {
  it('has kernels of its own names, and trials that stay where they belong', () => {
    for (const family of attentionKernels) checkFamily(family);
  });

  it('has the kernels that were reviewed', () => {
    expect(kernelHashes(appendSpec, appendVariants)).toMatchSnapshot();
    expect(kernelHashes(attendSpec, attendVariants, 32 * 1024)).toMatchSnapshot();
  });

  it('gives the bits of the reference, whatever is asked', { timeout: 600_000 }, async () => {
    const reference = await createBackend('reference', { arithmetic: 'float32' });
    const wasm = await createBackend('wasm', { debug: true, threads: 1 });
    await expectSame(
      reference as Device<unknown>,
      wasm as Device<unknown>,
      process.env.MSD_TEST_ALL === '1' ? 500 : 100,
    );
    expect(wasm.memory().scratchBytes).toBeGreaterThan(0);
    wasm.dispose();
  });

  it('holds the scores of a window, wherever it begins, and no more', async () => {
    const reference = await createBackend('reference', { arithmetic: 'float32' });
    const sizes = { batch: 1, kvHeads: 1, headSize: 8, valueSize: 8 };
    for (const [past, rows, window] of [
      [2300, 5, 90],
      [2303, 64, 1000],
      [1984, 130, 959],
    ] as const) {
      const wasm = new WasmBackend({ debug: true });
      const [q, kv] = [headMajor(2, rows, 8), headMajor(1, rows, 8)];
      const op = { ...sizes, rows, newKeys: rows, heads: 2, isCausal: true, window, q, k: kv, v: kv, out: q };
      const shape = { ...sizes, type: 'int8' } as const;
      const one: Case = {
        op,
        shape,
        past: [past],
        chunk: 3000,
        run: {},
        kind: 'gaussian',
        seed: past,
        hasSinks: false,
        areOperands: false,
      };
      const want = await outcome(reference as Device<unknown>, one);
      expect(firstDifference((await outcome(wasm, one)).out, want.out)).toBe(-1);
      const rowsOfTask = 2 * Math.min(rows, 32);
      expect(wasm.memory().scratch.attention).toBeLessThan(rowsOfTask * 4 * (window + 2000) + 40_000);
      wasm.dispose();
    }
  });

  it('holds the scores of 64 rows for each thread, however long a prompt is', { timeout: 120_000 }, async () => {
    const rows = 2048;
    const sizes = { batch: 1, kvHeads: 2, headSize: 8, valueSize: 8 };
    const [q, kv] = [headMajor(4, rows, 8), headMajor(2, rows, 8)];
    const one: Case = {
      op: { ...sizes, rows, newKeys: rows, heads: 4, isCausal: true, q, k: kv, v: kv, out: q },
      shape: { ...sizes, type: 'int16' },
      past: [0],
      chunk: rows,
      run: {},
      kind: 'gaussian',
      seed: 1,
      hasSinks: false,
      areOperands: false,
    };
    let want: Float32Array | undefined;
    for (const threads of canShare() ? [1, 2] : [1]) {
      const device = new WasmBackend({ debug: true }, await createTeam({ threads }));
      const { out } = await outcome(device, one);
      want ??= out;
      expect(firstDifference(out, want)).toBe(-1);
      // Scores of all keys, and what a row has besides.
      expect(device.memory().scratch.attention).toBeLessThan(threads * 64 * 4 * (rows + 1024));
      device.dispose();
    }
  });

  it('gives the bits of one thread, whatever threads share', { timeout: 600_000 }, async ({ skip }) => {
    skip(!canShare(), 'there are no threads here');
    const alone = new WasmBackend();
    const team = await createTeam({ threads: 3 });
    threadPool().chunkMacs = 1;
    const shared = new WasmBackend({ debug: true }, team);
    try {
      expect(shared.threads.count).toBe(3);
      await expectSame(alone, shared, process.env.MSD_TEST_ALL === '1' ? 1000 : 150);
    } finally {
      threadPool().chunkMacs = undefined;
      for (const device of [alone, shared]) device.dispose();
    }
  });

  it('gives the same bits whatever multiplies keys and values, in turns of one step or of two', () => {
    const memory = new WebAssembly.Memory({ initial: 3 });
    const at = 65536;
    const bytes = new Uint8Array(memory.buffer, at, 131072);
    const floats = new Float32Array(memory.buffer, at, 32768);
    const words = new Int32Array(memory.buffer, at, 32768);
    const [q, out, scratch] = [0xd800, 0xdc00, 0x10000];
    const pages = [0x1000, 0x5400, 0x9600];
    for (const type of TYPES)
      for (let groups = 1; groups <= 7; groups++) {
        const next = random(groups);
        const d = groups % 2 ? 32 : 20; // steps of int8: an even number, and an odd one
        const shape = { headSize: d, valueSize: d };
        const [first, later] = [0, 1].map((page) => pageLayout({ type, ...shape }, page));
        fillAttendTrial(words, at);
        const task = taskScratch(shape, type, groups, pages.length);
        const set = (names: Partial<Record<(typeof WORK)[number], number>>) => {
          for (const [name, value] of Object.entries(names)) words[WORK.indexOf(name as 'q')] = value;
        };
        set({ ...task, ...shape, q: at + q, out: at + out, scratch: at + scratch, groups, tileHeads: groups });
        set({ qHead: 4 * d, outHead: 4 * d });
        set({ firstV: first.v, firstVs: first.vs, firstKc: first.kc, v: later.v, ks: later.ks, vs: later.vs });
        set({ scale: new Int32Array(Float32Array.of(0.25).buffer)[0] });
        pages.forEach((page, i) => {
          const layout = i ? later : first;
          words[(words[WORK.indexOf('table')] - at) / 4 + i] = at + page;
          for (let j = 0; j < layout.byteLength; j++) bytes[page + j] = 256 * next();
          if (layout.keyType === 'float') floats.set(gaussians(next, 64 * d), page / 4);
          if (type === 'float') floats.set(gaussians(next, 64 * paddedValue(d)), (page + layout.v) / 4);
          floats.set(Float32Array.from({ length: 128 }, next), (page + layout.ks) / 4);
          if (i === 0) floats.set(Float32Array.from({ length: d }, next), (page + layout.kc) / 4);
        });
        floats.set(gaussians(next, groups * d), q / 4);
        const run = (options: Omit<AttendOptions, 'type'>) => {
          const kernel = kernelOn(memory, attendSpec, { type, ...options });
          bytes.fill(0, out, out + 4 * groups * d);
          kernel({ work: at, first: 0, count: 1, thread: 0 });
          return bytes.slice(out, out + 4 * groups * d);
        };
        const want = run({});
        expect(new Float32Array(want.buffer).every((value) => Math.abs(value) > 0)).toBe(true);
        for (const unroll of unrolls) {
          expect(run({ unroll })).toEqual(want);
          if (type !== 'int8' || !relaxedDot()) continue; // the other carrier never runs here
          for (const operand of ['unsigned', 'signed'] as const)
            expect(run({ carrier: { id: 'i8', digits: 2, operand, dot: exactDot(operand) }, unroll })).toEqual(want);
        }
      }
  });
});
