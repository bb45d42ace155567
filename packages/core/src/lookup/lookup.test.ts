/** Look-ups against float64: text as it was reviewed, and results on a GPU where there is one. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { longTier } from '../../test/conformance.ts';
import { testGpu } from '../../test/gpu.ts';
import { gaussians, type Random, random, rawWeights } from '../../test/random.ts';
import { gpuBuffer, readBuffer } from '../../test/run-wgsl.ts';
import type { GpuBuffer, GpuDevice } from '../backends/webgpu/api.ts';
import { type GpuRowsOptions, WebGpuBackend } from '../backends/webgpu/index.ts';
import { packWeights } from '../formats/packed.ts';
import { packedRows } from '../formats/packed-rows.ts';
import { everyVariant } from '../gemm/registry.ts';
import { wgslOffset } from '../recombine/offset.wgsl.ts';
import { type MatrixRows, type RowSource, rowExtent, type TableRows } from './contract.ts';
import { type LookupUse, wgslLookup } from './lookup.wgsl.ts';
import { rowReader } from './rows.ts';

const USES: readonly LookupUse[] = ['gather', 'segment_sum', 'segment_mean', 'dequantize'];
const CODES = ['int8', 'uint8', 'uint16', 'float16'] as const;

const table = (codes: TableRows['codes'], rows = 37, columns = 30): TableRows => {
  const range = codes === 'uint16' ? 65535 : 255;
  return { kind: 'table', codes, rows, columns, scale: 3.7 / range, min: -1.3 };
};

function* matrices(N: number, K: number): Generator<MatrixRows> {
  for (const { format, variant } of everyVariant())
    yield { kind: 'matrix', format: format.id, N, K, ...variant, planes: 1, offset: 0 };
  const int8 = {
    kind: 'matrix',
    format: 'int8',
    N,
    K,
    blockSize: null,
    storedZeroPoints: false,
    scale: 'f32',
  } as const;
  yield { ...int8, planes: 1, offset: 0.25 };
  yield { ...int8, planes: 2, offset: -0.75 };
}

describe('WGSL of look-ups', () => {
  it('is the text that was reviewed', () => {
    const kernels = [...matrices(1, 1), ...CODES.map((codes) => table(codes))]
      .flatMap((source) => USES.map((use) => wgslLookup({ source, use })))
      .concat(wgslOffset());
    const hashes = kernels.map(
      ({ id, code }) => `${id} ${code.length} ${createHash('sha256').update(code).digest('hex').slice(0, 16)}`,
    );
    expect(new Set(kernels.map(({ id }) => id)).size).toBe(kernels.length);
    expect(hashes).toMatchSnapshot();
  });

  it.each([
    wgslLookup({ source: table('float16'), use: 'segment_mean' }),
    wgslLookup({ source: table('uint8'), use: 'gather' }),
    wgslLookup({ source: [...matrices(1, 1)].at(-1)!, use: 'dequantize' }),
    wgslOffset(),
  ])('can be read: $id', async ({ id, code }) => {
    await expect(code).toMatchFileSnapshot(`./__snapshots__/${id}.wgsl`);
  });
});

/** Bytes of a source, and its real values with what roundings may take, in float64. */
interface Example {
  readonly source: RowSource;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of (row, column): [value, bound]. */
  real(n: number, k: number): [value: number, bound: number];
}

/** A rounding in WGSL is one ulp; a scale below 2⁻¹²⁶ may be lost. */
const ULP = 2 ** -23;
const LOST = 255 * 2 ** -126;

function matrixExample(source: MatrixRows, next: Random): Example {
  const shape = { ...source, asymmetric: source.storedZeroPoints, scale: source.scale as 'f32' | 'f16' };
  const planes = Array.from({ length: source.planes }, () => packWeights(rawWeights(next, shape, () => next() - 0.5)));
  const bytes = new Uint8Array(planes.reduce((sum, plane) => sum + plane.bytes.length, 0));
  planes.forEach((plane, i) => {
    bytes.set(plane.bytes, i * plane.bytes.length);
  });
  const rows = planes.map((plane) => {
    const values = new Float32Array(source.N * source.K);
    const read = packedRows(plane, plane.bytes);
    for (let n = 0; n < source.N; n++) read(n, values, n * source.K);
    return values;
  });
  return {
    source,
    bytes,
    real(n, k) {
      const parts = [...rows.map((values) => values[n * source.K + k]), source.offset];
      const magnitude = parts.reduce((sum, part) => sum + Math.abs(part), 0);
      return [parts.reduce((a, b) => a + b), (source.offset ? 3 : 1) * ULP * magnitude + LOST];
    },
  };
}

const HALVES = [0, 0x8000, 1, 0x8001, 0x3ff, 0x400, 0x7bff, 0xfbff, 0x3c00, 0x7c00, 0xfc00, 0x7e00, 0x7c01];

function fromHalf(bits: number): number {
  const [exponent, mantissa, sign] = [(bits >> 10) & 31, bits & 0x3ff, bits & 0x8000 ? -1 : 1];
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1 + mantissa / 1024) * 2 ** (exponent - 15) : mantissa * 2 ** -24);
}

/** @param special infinities and NaN among the halves */
function tableExample(source: TableRows, next: Random, special = false): Example {
  const { codes, rows, columns, scale, min } = source;
  const bytes = new Uint8Array(rowExtent(source).byteLength);
  const stored = { int8: Int8Array, uint8: Uint8Array, uint16: Uint16Array, float16: Uint16Array }[codes];
  const values = new stored(bytes.buffer, 0, rows * columns);
  const finite = () => Math.floor(next() * 0x7c00) | (next() < 0.5 ? 0x8000 : 0);
  values.forEach((_, i) => {
    values[i] = codes === 'float16' ? (HALVES[special ? i : 99] ?? finite()) : Math.floor(65536 * next());
  });
  const scales =
    codes === 'int8' ? new Float32Array(bytes.buffer, 4 * Math.ceil((rows * columns) / 4), rows) : undefined;
  scales?.set(gaussians(next, rows));
  return {
    source,
    bytes,
    real(n, k) {
      const code = values[n * columns + k];
      if (codes === 'float16') return [fromHalf(code), 0];
      if (codes === 'uint8') return [Math.fround(code * scale + min), 0];
      if (codes === 'uint16') return [code * scale + min, 3 * ULP * (code * scale + Math.abs(min))];
      return [code * scales![n], ULP * Math.abs(code * scales![n])];
    },
  };
}

describe('rowReader', () => {
  const near = ({ source, bytes, real }: Example) => {
    const { rows, columns } = rowExtent(source);
    const read = rowReader(source, bytes);
    const out = new Float32Array(columns + 3);
    for (let n = 0; n < rows; n++) {
      read(n, out, 2);
      for (let k = 0; k < columns; k++) {
        const [want, bound] = real(n, k);
        const got = out[2 + k];
        const isNear = Object.is(got, want) || Math.abs(got - want) <= bound;
        expect(isNear, `${JSON.stringify(source)} row ${n}, k ${k}: expected ${want} ± ${bound}, got ${got}`).toBe(
          true,
        );
      }
    }
    expect([out[0], out[1], out.at(-1)]).toEqual([0, 0, 0]);
    expect(() => rowReader(source, bytes.subarray(4))).toThrow(/rowReader: expected \d+ bytes/);
  };

  it.each(CODES)('reads rows of a table of %s', (codes) => near(tableExample(table(codes, 37, 7), random(1), true)));

  it('reads rows of matrices of every format and form', () => {
    for (const source of matrices(37, 333)) near(matrixExample(source, random(1)));
  });
});

const gpu = await testGpu();

describe.skipIf(!gpu)('look-ups on WebGPU', { timeout: 300_000 }, () => {
  let device: GpuDevice;
  let backend: WebGpuBackend;
  const complaints: string[] = [];
  beforeAll(async () => {
    const adapter = await gpu!.requestAdapter();
    device = await adapter!.requestDevice();
    (device as unknown as EventTarget).addEventListener('uncapturederror', (event) => {
      complaints.push((event as unknown as { error: { message: string } }).error.message);
    });
    backend = await WebGpuBackend.create({ device });
  });
  afterAll(() => {
    expect(complaints).toEqual([]);
    backend.dispose();
    device.destroy();
  });

  const i32 = (values: readonly number[]) => gpuBuffer(device, Int32Array.from(values));
  const whole = (buffer: GpuBuffer) => ({ buffer, byteLength: buffer.size });

  /** The source lies behind other bytes, as a matrix of a batch does. */
  async function look(
    { source, bytes }: Example,
    count: number,
    options: Omit<GpuRowsOptions, 'out'>,
    before = 48,
  ): Promise<Float32Array> {
    const padded = new Uint8Array(before + bytes.length);
    padded.set(bytes, before);
    const { columns } = rowExtent(source);
    const [w, out] = [gpuBuffer(device, padded), gpuBuffer(device, 4 * count * columns)];
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    const where = { buffer: w, offset: before, byteLength: bytes.length };
    backend.recordRows(pass, source, where, { ...options, out: { buffer: out, byteLength: 4 * count * columns } });
    pass.end();
    device.queue.submit([encoder.finish()]);
    await backend.flush();
    return new Float32Array(await readBuffer(device, out));
  }

  function expectClose(got: number, [want, bound]: [number, number], at: string): void {
    if (Object.is(got, want) || Math.abs(got - want) <= bound) return;
    throw new Error(`${at}: expected ${want} ± ${bound}, got ${got}`);
  }

  const INDICES = [3, 36, 0, 3, -1, 17, 37, 2 ** 31 - 1, 16];

  async function gathers(example: Example): Promise<void> {
    const { rows, columns } = rowExtent(example.source);
    const got = await look(example, INDICES.length, { indices: whole(i32(INDICES)) });
    INDICES.forEach((n, i) => {
      for (let k = 0; k < columns; k++)
        expectClose(
          got[i * columns + k],
          n >= 0 && n < rows ? example.real(n, k) : [0, 0],
          `${JSON.stringify(example.source)} index ${n}, k ${k}`,
        );
    });
  }

  async function dequantizes(example: Example): Promise<void> {
    const { rows, columns } = rowExtent(example.source);
    const got = await look(example, rows, {});
    const isMatrix = example.source.kind === 'matrix';
    for (let n = 0; n < rows; n++)
      for (let k = 0; k < columns; k++)
        expectClose(
          got[isMatrix ? k * rows + n : n * columns + k],
          example.real(n, k),
          `${JSON.stringify(example.source)} row ${n}, k ${k}`,
        );
  }

  /** Segments 0, 1 (empty), 2, 3 (two rows that are none), 4. */
  async function sums(example: Example, mean: boolean): Promise<void> {
    const { rows, columns } = rowExtent(example.source);
    const indices = [1, 5, 5, 36, 9, -1, 40, 2];
    const ids = [0, 0, 0, 2, 2, 3, 3, 4];
    const segments = { ids: whole(i32(ids)), count: 5, mean };
    const got = await look(example, 5, { indices: whole(i32(indices)), segments });
    for (let s = 0; s < 5; s++)
      for (let k = 0; k < columns; k++) {
        const of = ids.flatMap((id, i) => (id === s ? [indices[i]] : []));
        const parts = of.filter((n) => n >= 0 && n < rows).map((n) => example.real(n, k));
        const sum = parts.reduce((total, [value]) => total + value, 0);
        const magnitude = parts.reduce((total, [value]) => total + Math.abs(value), 0);
        // parts additions of one ulp each, and WGSL's division of 2.5
        const bound = parts.reduce((total, [, error]) => total + error, 0) + (parts.length + 3) * ULP * magnitude;
        const by = mean ? Math.max(1, of.length) : 1;
        expectClose(
          got[s * columns + k],
          [sum / by, bound / by],
          `${JSON.stringify(example.source)} segment ${s}, k ${k}`,
        );
      }
  }

  const [N, K] = [37, 333]; // a panel that is not full, K no multiple of 32
  const all = [...matrices(N, K)];
  const few = all.filter(
    ({ format, blockSize, storedZeroPoints, scale, planes }) =>
      planes === 2 ||
      (format === 'int8' && blockSize === null && storedZeroPoints) ||
      (format === 'int8' && blockSize === 256 && !storedZeroPoints && scale === 'f16') ||
      (format === 'int4' && blockSize === 16 && storedZeroPoints && scale === 'f32') ||
      (format === 'mxfp4' && blockSize === 32) ||
      (format === 'int2' && blockSize === 32 && !storedZeroPoints && scale === 'f32'),
  );

  it.each(CODES)('a %s table: rows, sums, means, all of it', async (codes) => {
    const example = tableExample(table(codes), random(1));
    await gathers(example);
    await sums(example, false);
    await sums(example, true);
    await dequantizes(example);
  });

  it('halves of every kind come back bit for bit', async () => {
    await gathers(tableExample(table('float16', 37, 7), random(2), true));
    await dequantizes(tableExample(table('float16', 3, 5), random(2), true));
  });

  it.each(longTier() ? all : few)(
    'rows of $format, block $blockSize, zero points $storedZeroPoints, $planes',
    async (source) => {
      await gathers(matrixExample(source, random(3)));
    },
  );

  it.each(longTier() ? all : few.filter(({ format, planes }) => planes === 2 || format === 'mxfp4'))(
    'sums, means and all of $format, block $blockSize, zero points $storedZeroPoints, $planes',
    async (source) => {
      const example = matrixExample(source, random(4));
      await sums(example, false);
      await sums(example, true);
      await dequantizes(example);
    },
  );

  it('shapes around a thread: one value, no index, a row of three', async () => {
    for (const [rows, columns] of [
      [1, 1],
      [1, 3],
      [300, 5],
    ] as const)
      await dequantizes(tableExample(table('uint8', rows, columns), random(5)));
    expect(
      await look(tableExample(table('uint8'), random(5)), 0, { indices: { ...whole(i32([])), byteLength: 0 } }),
    ).toEqual(new Float32Array(1));
  });

  it.each([
    [1, 1, 1],
    [5, 333, 70],
    [300, 64, 3],
  ])('an offset in every weight: M=%i, K=%i, N=%i', async (M, K, N) => {
    const next = random(6);
    const [x, y, offset] = [Float32Array.from(gaussians(next, M * K)), Float32Array.from(gaussians(next, M * N)), -0.3];
    if (M > 2) y.fill(Number.NaN, N, 2 * N);
    const [xBuffer, yBuffer] = [gpuBuffer(device, x), gpuBuffer(device, y)];
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    backend.recordOffset(pass, whole(xBuffer), { M, K, N, offset, out: whole(yBuffer) });
    pass.end();
    device.queue.submit([encoder.finish()]);
    await backend.flush();
    const got = new Float32Array(await readBuffer(device, yBuffer));
    for (let m = 0; m < M; m++) {
      const row = Array.from(x.subarray(m * K, (m + 1) * K));
      const sum = row.reduce((a, b) => a + b, 0);
      const magnitude = row.reduce((a, b) => a + Math.abs(b), 0);
      for (let n = 0; n < N; n++) {
        const [from, term] = [y[m * N + n], Math.fround(offset) * sum];
        const bound =
          (Math.ceil(K / 64) + 65) * ULP * Math.abs(offset) * magnitude + ULP * (Math.abs(from) + Math.abs(term));
        expectClose(got[m * N + n], [from + term, bound], `m ${m}, n ${n}`);
      }
    }
  });

  it('refuses what does not fit, and records nothing', () => {
    const example = tableExample(table('uint8'), random(7));
    const w = gpuBuffer(device, example.bytes);
    const out = whole(gpuBuffer(device, 4 * 2 * 30));
    const indices = whole(i32([1, 2]));
    const where = whole(w);
    const { source } = example;
    const pass = new Proxy({}, { get: () => expect.fail('something was recorded') }) as never;
    const bad: [() => void, RegExp][] = [
      [
        () => backend.recordRows(pass, source, { ...where, byteLength: 8 }, { indices, out }),
        /where expected 1112 bytes, got 8/,
      ],
      [() => backend.recordRows(pass, source, { ...where, offset: 4 }, { indices, out }), /inside its buffer of 1112/],
      [() => backend.recordRows(pass, source, where, { out }), /out expected 4440 bytes, got 240/],
      [() => backend.recordRows(pass, source, where, { indices: { ...indices, byteLength: 6 }, out }), /expected/],
      [
        () => backend.recordRows(pass, source, where, { out, segments: { ids: indices, count: 2, mean: true } }),
        /need indices/,
      ],
      [
        () => backend.recordRows(pass, source, where, { indices: { ...out, byteLength: 8 }, out }),
        /different GPU buffers/,
      ],
      [() => backend.recordOffset(pass, out, { M: 2, K: 30, N: 3, offset: 1, out }), /out expected 24 bytes, got 240/],
      [() => backend.recordOffset(pass, out, { M: 2, K: 30, N: 30, offset: 1, out }), /different GPU buffers/],
    ];
    for (const [run, message] of bad) expect(run, String(message)).toThrow(message);
  });

  it('keeps a table of values per uint8 scale, gives them back, and says so', async () => {
    const own = await WebGpuBackend.create({ device });
    const before = own.memory().scratchBytes;
    const example = tableExample(table('uint8'), random(8));
    const w = gpuBuffer(device, example.bytes);
    for (let i = 0; i < 3; i++) {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      own.recordRows(pass, example.source, whole(w), { out: whole(gpuBuffer(device, 4 * 37 * 30)) });
      pass.end();
      device.queue.submit([encoder.finish()]);
    }
    await own.flush();
    expect(own.memory().scratchBytes - before).toBeGreaterThanOrEqual(1024);
    expect(own.memory().packedBytes).toBe(0);
    own.dispose();
    expect(own.memory().scratchBytes).toBe(0);
  });
});
