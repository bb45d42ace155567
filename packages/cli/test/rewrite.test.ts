/** `msd rewrite` as a user runs it; what it wrote runs in both engines. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorBound, quantizeWeights } from '@msd/core';
import { writeModel } from '@msd/onnx/write';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Bnb4Options, bnb4 } from '../../onnx/test/bnb4-model.ts';
import { exactProduct } from '../../onnx/test/models.ts';
import { dynamic } from '../../onnx/test/ocr.ts';
import { storyModel } from '../../onnx/test/story.ts';
import { openModel } from '../src/edit/open-model.ts';
import type { Check } from '../src/rewrite/check.ts';
import { countsOf, dequantizeWeights, gaussian, nBitsModel, ort, runPlain } from './models.ts';
import { msd, msdJson } from './msd.ts';

interface Result {
  readonly rewritten: readonly { readonly name: string; readonly from: string }[];
  readonly kept: readonly { readonly name: string; readonly reason: string }[];
  readonly checks: readonly Check[];
}

const rewrite = (args: readonly string[]): Promise<Result> => msdJson<Result>(['rewrite', ...args]);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-rewrite-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

function put(name: string, bytes: Uint8Array): string {
  writeFileSync(at(name), bytes);
  return at(name);
}

describe('products', () => {
  const forms: readonly (readonly [string, number, number, Parameters<typeof quantizeWeights>[1], number])[] = [
    ['4 bits', 24, 96, { N: 24, K: 96, format: 'int4', blockSize: 32 }, 21],
    ['4 bits, before 4-bit types', 24, 96, { N: 24, K: 96, format: 'int4', blockSize: 32 }, 14],
    [
      '4 bits, zero points, K of no whole 256',
      7,
      320,
      { N: 7, K: 320, format: 'int4', blockSize: 64, asymmetric: true },
      17,
    ],
    ['8 bits', 5, 512, { N: 5, K: 512, format: 'int8', blockSize: 128 }, 18],
    ['8 bits, zero points', 5, 320, { N: 5, K: 320, format: 'int8', blockSize: 128, asymmetric: true }, 21],
    [
      '8 bits, zero points, before blocks',
      6,
      512,
      { N: 6, K: 512, format: 'int8', blockSize: 128, asymmetric: true },
      13,
    ],
    ['2 bits', 9, 64, { N: 9, K: 64, format: 'int2', blockSize: 32 }, 21],
  ];

  it.each(forms)(
    'of %s become digits and MatMulInteger, within the bound of the decomposition',
    async (_, N, K, options, opset) => {
      const weights = quantizeWeights(gaussian(N * K, 3), options);
      const path = put('product.onnx', writeModel(nBitsModel(weights, opset)));
      const bias = gaussian(N, 2);
      const x = gaussian(2 * 3 * K, 4).map((value, i) => (i % 37 === 0 ? 40 * value : value));
      x.fill(0, K, 2 * K);
      for (const components of [1, 2] as const) {
        const { rewritten, checks } = await rewrite([
          path,
          '-o',
          at('d.onnx'),
          '--force',
          '--components',
          `${components}`,
        ]);
        expect(rewritten).toEqual([{ name: 'codes', from: 'MatMulNBits', N, K }]);
        for (const { error } of checks) expect(error).toBeUndefined();
        const model = await openModel(at('d.onnx'));
        expect(countsOf(model)).toMatchObject({ MatMulInteger: components });
        expect([...model.scopes[0]!.graph.nodes].every(({ domain }) => domain === '')).toBe(true);
        model.close();
        const { y } = await runPlain(at('d.onnx'), { x: new ort.Tensor('float32', x, [2, 3, K]) });
        expect(y!.dims).toEqual([2, 3, N]);
        const bound = errorBound(x, weights, { components });
        const reals = dequantizeWeights(weights);
        for (let m = 0; m < 6; m++)
          for (let n = 0; n < N; n++) {
            let sum = 0;
            for (let k = 0; k < K; k++) sum += x[m * K + k]! * reals[n * K + k]!;
            const off = Math.abs((y!.data as Float32Array)[m * N + n]! - (sum + bias[n]!));
            // The bias is one more rounding.
            expect(off).toBeLessThanOrEqual(bound[m * N + n]! + 2 ** -23 * (Math.abs(sum) + Math.abs(bias[n]!)));
          }
      }
    },
  );

  it.each(forms)(
    'of %s become DequantizeLinear and MatMul, and MatMulNBits again, with the same integers',
    async (_, N, K, options, opset) => {
      const weights = quantizeWeights(gaussian(N * K, 3), options);
      const path = put('product.onnx', writeModel(nBitsModel(weights, opset)));
      await rewrite([path, '-o', at('qdq.onnx'), '--to', 'qdq', '--force']);
      await rewrite([at('qdq.onnx'), '-o', at('back.onnx'), '--to', 'nbits', '--force']);
      const x = () => ({ x: new ort.Tensor('float32', gaussian(2 * K, 4), [1, 2, K]) });
      const [before, qdq, back] = [
        await runPlain(path, x()),
        await runPlain(at('qdq.onnx'), x()),
        await runPlain(at('back.onnx'), x()),
      ];
      const peak = Math.max(...(before.y!.data as Float32Array).map(Math.abs));
      for (const { y } of [qdq, back])
        for (const [i, value] of (y!.data as Float32Array).entries())
          expect(Math.abs(value - (before.y!.data as Float32Array)[i]!)).toBeLessThan(K * 2 ** -22 * peak);
    },
  );

  it.each<[string, Bnb4Options, number]>([
    ['NF4', { N: 24, K: 128 }, 6],
    ['NF4, before 4-bit types', { N: 24, K: 128, opset: 17 }, 6],
    ['FP4, K of no whole 256', { N: 7, K: 320, format: 'fp4' }, 6],
    ['NF4, blocks that are part of two rows', { N: 6, K: 96, opset: 13 }, 4],
  ])('of codebooks (%s) are looked up, or become two of 8 bits', async (_, options, rows) => {
    const { bytes, matrix, off } = bnb4(options);
    const { N, K } = matrix;
    const path = put('bnb4.onnx', bytes);
    const x = gaussian(rows * K, 4).map((value, i) => (i % 37 === 0 ? 40 * value : value));
    const feeds = () => ({ x: new ort.Tensor('float32', x, [1, rows, K]) });
    const exact = exactProduct(matrix, x);
    const sizeOf = (i: number, weigh: (at: number) => number): number =>
      x
        .subarray(Math.floor(i / N) * K, (Math.floor(i / N) + 1) * K)
        .reduce((sum, value, k) => sum + Math.abs(value) * weigh((i % N) * K + k), 0);
    // Sums of floats; the codebook in integers; activations in digits, for both products.
    const float = (i: number): number => K * 2 ** -22 * sizeOf(i, (at) => Math.abs(matrix.real[at]!)) + 1e-7;
    const split = (i: number): number => float(i) + sizeOf(i, (at) => off[at]!);
    const spellings: readonly [string, (i: number) => number, Record<string, number>][] = [
      ['qdq', float, { Gather: 1, MatMul: 1 }],
      ['nbits', split, { MatMulNBits: 1 }],
      ['decomposed', (i) => split(i) + 2 * exact.bound[i]!, { MatMulInteger: 2 }],
    ];
    for (const [to, bound, counts] of spellings) {
      const { rewritten, checks } = await rewrite([path, '-o', at('r.onnx'), '--to', to, '--force']);
      expect(rewritten).toEqual([{ name: 'B', from: 'MatMulBnb4', N, K }]);
      expect(checks.map(({ engine, error }) => [engine, error])).toEqual(
        expect.arrayContaining([
          ['onnxruntime-web', undefined],
          ['MSD', undefined],
        ]),
      );
      const model = await openModel(at('r.onnx'));
      expect(countsOf(model)).toMatchObject(counts);
      model.close();
      const { y } = await runPlain(at('r.onnx'), feeds());
      expect(y!.dims).toEqual([1, rows, N]);
      for (const [i, value] of (y!.data as Float32Array).entries())
        expect(Math.abs(value - exact.y[i]!), `${to} ${i}`).toBeLessThanOrEqual(bound(i));
    }
  });

  it.each<[string, Bnb4Options]>([
    ['blocks of 64 cut rows of 40 into pieces below 16', { N: 8, K: 40 }],
    ['B is not transposed', { N: 64, K: 64, attributes: { transB: 0 } }],
  ])('of codebooks are left as they are: %s', async (reason, options) => {
    const { stderr } = await msd(['rewrite', put('bnb4.onnx', bnb4(options).bytes), '-o', at('never.onnx')]);
    expect(stderr).toContain(reason);
  });

  it('of dynamic int8 files become MatMulNBits, whose activations nobody rounds', async () => {
    const path = put('dynamic.onnx', dynamic());
    const { rewritten, checks } = await rewrite([path, '-o', at('nbits.onnx'), '--to', 'nbits']);
    expect(rewritten.map(({ from }) => from)).toEqual(new Array(9).fill('MatMulInteger'));
    const model = await openModel(at('nbits.onnx'));
    expect(countsOf(model).MatMulInteger).toBeUndefined();
    model.close();
    for (const { error } of checks) expect(error).toBeUndefined();
  }, 240_000);
});

it('weights whose DequantizeLinear gives float16 from float32 scales are multiplied by float16', async () => {
  const [N, K] = [8, 64];
  const path = put(
    'to-half.onnx',
    writeModel({
      irVersion: 11,
      opsets: { '': 23 },
      graph: {
        nodes: [
          {
            opType: 'DequantizeLinear',
            inputs: ['codes', 'scale'],
            outputs: ['w'],
            attributes: { output_dtype: { int: 10 } },
          },
          { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] },
        ],
        initializers: [
          { name: 'codes', dtype: 'int8', dims: [K, N], data: Int8Array.from(gaussian(K * N, 1), (v) => 30 * v) },
          { name: 'scale', dtype: 'float32', dims: [], data: Float32Array.of(1 / 64) },
        ],
        inputs: [{ name: 'x', dtype: 'float16', dims: ['rows', K] }],
        outputs: [{ name: 'y', dtype: 'float16', dims: ['rows', N] }],
      },
    }),
  );
  for (const to of ['decomposed', 'nbits']) {
    const { rewritten, checks } = await rewrite([path, '-o', at('half.onnx'), '--to', to, '--force']);
    expect(rewritten).toHaveLength(1);
    for (const { engine, sqnr, error } of checks) {
      if (engine === 'onnxruntime-node') continue; // reads no Float16Array
      expect(error, to).toBeUndefined();
      expect(sqnr ?? 999, to).toBeGreaterThan(60); // half precision keeps 11 bits
    }
  }
});

describe('the shipped story model', () => {
  it.each(['decomposed', 'qdq'] as const)('becomes %s', async (to) => {
    const path = put('story.onnx', storyModel('q4'));
    const { rewritten, checks } = await rewrite([path, '-o', at(`story-${to}.onnx`), '--to', to]);
    expect(rewritten).toHaveLength(15);
    for (const { sqnr, error } of checks) {
      expect(error).toBeUndefined();
      // Two components are worth 70 dB and more even with the outliers of a trained model; null: the same bits.
      expect(sqnr ?? 999).toBeGreaterThan(70);
    }
  });
});

describe('what cannot be', () => {
  const failing = async (args: readonly string[], fileKilobytes?: number): Promise<string> => {
    const { exitCode, stderr } = await msd(['rewrite', ...args], { fileKilobytes });
    expect(exitCode).not.toBe(0);
    return stderr.trim().split('\n').at(-1)!;
  };

  it('is said in one sentence', async () => {
    const path = put(
      'q.onnx',
      writeModel(nBitsModel(quantizeWeights(gaussian(8 * 64, 1), { N: 8, K: 64, format: 'int4', blockSize: 32 }), 10)),
    );
    const out = at('never.onnx');
    expect(await failing([path, '-o', out, '--to', 'tflite'])).toBe(
      "--to: expected one of decomposed, nbits, qdq, got 'tflite'.",
    );
    expect(await failing([path, '-o', out, '--components', '3'])).toBe("--components: expected 1 or 2, got '3'.");
    expect(await failing([path, '-o', path])).toContain('is the model itself');
    expect(await failing([path, '-o', out, '--to', 'nbits'])).toContain('nothing to rewrite as nbits');
    expect(await failing([path, '-o', out, '--to', 'qdq'])).toContain(
      'operator set 10 has no DequantizeLinear with an axis, 13 has',
    );
    expect(await failing([path, '-o', out])).toContain('operator set 10 has no Round, 11 has');
    expect(existsSync(out)).toBe(false);
  });

  it.skipIf(process.platform === 'win32').each([
    [[], 8],
    [['--external-data'], 8],
    [[], 200],
  ])('a full disk leaves nothing behind: %j, %i kB', async (args, kilobytes) => {
    mkdirSync(at('full'), { recursive: true });
    const weights = quantizeWeights(gaussian(512 * 512, 1), { N: 512, K: 512, format: 'int4', blockSize: 32 });
    const path = put('large.onnx', writeModel(nBitsModel(weights, 17)));
    const said = await failing([path, '-o', at('full/new/out.onnx'), ...args], kilobytes);
    expect(said).toMatch(/too large a file for this disk \(EFBIG\)\. Choose a folder on another disk with -o\.$/);
    expect(readdirSync(at('full'))).toEqual([]);
  });

  it('a model that does not run on made-up inputs is written, and not checked', async () => {
    const weights = quantizeWeights(gaussian(8 * 64, 1), { N: 8, K: 64, format: 'int4', blockSize: 32 });
    const { graph, ...model } = nBitsModel(weights, 17);
    const inputs = [{ name: 'x', dtype: 'float32' as const, dims: ['batch', 'rows', 'columns'] }];
    const path = put('open.onnx', writeModel({ ...model, graph: { ...graph, inputs } }));
    expect(await failing([path, '-o', at('unchecked.onnx')])).toMatch(
      /unchecked\.onnx is written, but not checked: .*open\.onnx does not run on such inputs \(.* Give others: --inputs, --prompt\.$/,
    );
    expect((await openModel(at('unchecked.onnx'))).scopes).toHaveLength(1);
  });

  it('a data file in its place is seen before any work', async () => {
    const weights = quantizeWeights(gaussian(8 * 64, 1), { N: 8, K: 64, format: 'int4', blockSize: 32 });
    const path = put('small.onnx', writeModel(nBitsModel(weights, 17)));
    put('taken.onnx_data', new Uint8Array(1));
    expect(await failing([path, '-o', at('taken.onnx'), '--external-data'])).toContain('taken.onnx_data exists.');
    expect(existsSync(at('taken.onnx'))).toBe(false);
  });
});
