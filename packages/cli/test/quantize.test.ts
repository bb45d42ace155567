/** `msd quantize` as a user runs it, and plain onnxruntime-web on what it wrote. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { random as seededRandom } from '@msd/core/numerics';
import { Message } from '@msd/onnx/model';
import { register, reportOf } from '@msd/onnx/register';
import type { NodeSpec } from '@msd/onnx/write';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tellStories } from '../../../examples/story-model/src/corpus.ts';
import { conformanceFolder } from '../../onnx/test/conformance.ts';
import { line, recogniser, textOf } from '../../onnx/test/ocr.ts';
import { CONFIG, storyModel, storyPrompts, storyTokens } from '../../onnx/test/story.ts';
import { argMax, marginOf, type Step, write } from '../../onnx/test/text.ts';
import { openModel } from '../src/edit/open-model.ts';
import type { ChosenForMore } from '../src/quantize/more-bits.ts';
import type { MatrixResult } from '../src/quantize/quantize.ts';
import {
  bytesOf,
  countsOf,
  dequantizeWeights,
  floatTensor,
  gaussian,
  nBitsOf,
  ort,
  productModel,
  quantizeWeights,
  runPlain,
  tokenModel,
  transposed,
} from './models.ts';
import { msd, msdJson } from './msd.ts';

interface Result {
  readonly matrices: readonly MatrixResult[];
  readonly moreBits: readonly ChosenForMore[];
  readonly kept: readonly { readonly name: string; readonly reason: string }[];
  readonly files: readonly { readonly path: string; readonly byteLength: number }[];
  readonly byteLength: number;
}

/** Tokens that are nearer to each other than this are as good as equally likely. */
const MARGIN = 0.02;

const quantize = (args: readonly string[]): Promise<Result> => msdJson<Result>(['quantize', ...args]);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-quantize-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function put(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const at = (name: string): string => join(folder, name);

describe('the shipped story model', () => {
  const root = fileURLToPath(new URL('../../../examples/story-model/', import.meta.url));

  it('has products better than rounded to nearest, and writes the text of its floats', async () => {
    mkdirSync(at('story/onnx'), { recursive: true });
    put('story/onnx/model.onnx', storyModel('fp32'));
    for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json'])
      writeFileSync(at(`story/${name}`), readFileSync(join(root, 'model', name)));
    const [best, plain] = await Promise.all([
      quantize([at('story'), '-o', at('best')]),
      quantize([at('story'), '-o', at('plain'), '--no-search']),
      quantize([at('story'), '-o', at('pure'), '--more', '0']),
    ]);
    expect(readdirSync(at('best')).sort()).toEqual(['config.json', 'onnx', 'tokenizer.json', 'tokenizer_config.json']);
    const path = at('best/onnx/model_q4.onnx');
    expect(best.files).toEqual([{ path, byteLength: statSync(path).size }]);
    // A fifth more than without matrices of 8 bits, at most; the head is the first that gets them.
    expect(best.byteLength).toBeLessThan(1.2 * plain.byteLength);
    expect(best.moreBits[0]!.name).toBe('lm_head.MatMul.weight');
    expect(best.moreBits.map(({ name }) => best.matrices.find((each) => each.name === name)!.form)).toEqual(
      best.moreBits.map(() => 'int8:128'),
    );
    // No weight was rounded with the prompts in sight: the model wrote its own texts.
    const [rounded, searched] = [await nBitsOf(at('plain/onnx/model_q4.onnx')), await nBitsOf(path)];
    const gains = await outputGains(storyModel('fp32'), rounded, searched);
    expect(Math.min(...gains)).toBeGreaterThan(0.5);
    expect(plain.matrices.length).toBe(best.matrices.length);
    const told = await textsOf(storyModel('fp32'));
    const [round, search] = [await flipped(at('plain/onnx/model_q4.onnx'), told), await flipped(path, told)];
    console.log(
      `int4, along ${told.length} texts: other tokens at margins ${search.join(', ')}; rounded: ${round.join(', ')}`,
    );
    expect(search).toEqual([]);
    expect(round).not.toEqual([]);
    // Nor with these: twenty other stories.
    const [few, most] = [await otherWords(path), await otherWords(at('pure/onnx/model_q4.onnx'))];
    console.log(`int4, along 20 stories: ${few} other tokens, ${most} with 4 bits for all matrices`);
    expect(few).toBeLessThan(most / 2);
    // The same weights are the same text, whoever multiplies.
    const quantized = await textsOf(path);
    register(ort);
    expect(await flipped(path, quantized, 'msd')).toEqual([]);
  }, 300_000);

  it.each([
    ['int8', () => ['-f', 'int8']],
    ['int4 that follows other stories, and a head of 8 bits', () => ['-c', stories(), '-r', '*lm_head*=int8']],
  ])(
    'writes the text of its floats: %s',
    async (_, args) => {
      const path = at('same.onnx');
      mkdirSync(at('floats'), { recursive: true });
      await quantize([put('floats/model.onnx', storyModel('fp32')), '-o', path, '--force', ...args()]);
      expect(await flipped(path, await textsOf(storyModel('fp32')))).toEqual([]);
    },
    300_000,
  );

  it('gives its head alone 8 bits where nothing can be tried, and says so', async () => {
    const path = put('untried.onnx', storyModel('fp32'));
    const env = { TMPDIR: at('no-folder') };
    const args = ['quantize', path, '-o', at('untried-q4.onnx'), '--calibrate-rows', '64'];
    const { exitCode, stderr, stdout } = await msd(args, { env });
    expect(stderr).toContain('What 4 bits change could not be tried, so only the head gets more: ');
    expect(exitCode, stdout).toBe(0);
    expect((await nBitsOf(at('untried-q4.onnx'))).size).toBeGreaterThan(0);
  }, 120_000);

  it.skipIf(!conformanceFolder)(
    'so is stories260k, another trained model (skipped where ../shared/conformance is absent)',
    async () => {
      const path = at('stories260k.onnx');
      await quantize([join(conformanceFolder!, 'stories260k/onnx/model.onnx'), '-o', path]);
      register(ort);
      expect(await flipped(path, await textsOf(path), 'msd')).toEqual([]);
    },
    300_000,
  );

  /** Stories that no prompt begins. */
  function stories(): string {
    writeFileSync(at('floats/tokenizer.json'), readFileSync(join(root, 'model/tokenizer.json')));
    return put('stories.txt', new TextEncoder().encode(tellStories(seededRandom(77), 20).join('\n\n')));
  }

  interface Text {
    readonly prompt: readonly number[];
    readonly steps: readonly Step[];
  }

  const sessionOf = (model: Uint8Array | string, executionProviders = ['wasm']): Promise<ort.InferenceSession> =>
    typeof model === 'string'
      ? ort.InferenceSession.create(model, { executionProviders })
      : ort.InferenceSession.create(model, { executionProviders });

  /** What a model writes in plain onnxruntime-web. */
  async function textsOf(model: Uint8Array | string): Promise<Text[]> {
    const session = await sessionOf(model);
    const texts: Text[] = [];
    for (const prompt of storyPrompts()) texts.push({ prompt, steps: await write(session, prompt, 48) });
    await session.release();
    return texts;
  }

  /** Where a file says something else along texts: how far each token was ahead, if that is more than a tie. */
  async function flipped(path: string, texts: readonly Text[], provider = 'wasm'): Promise<number[]> {
    const session = await sessionOf(path, [provider]);
    const margins: number[] = [];
    for (const { prompt, steps } of texts) {
      const own = await write(session, prompt, steps.length, (_, i) => steps[i]!.token);
      for (const [i, { token, logits }] of steps.entries())
        if (argMax(own[i]!.logits) !== token && marginOf(logits) > MARGIN) margins.push(marginOf(logits));
    }
    await session.release();
    return margins;
  }

  /** A whole text at once. */
  function textFeeds(session: ort.InferenceSession, ids: readonly number[]): Record<string, ort.Tensor> {
    const feeds: Record<string, ort.Tensor> = {
      input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
      attention_mask: new ort.Tensor('int64', new BigInt64Array(ids.length).fill(1n), [1, ids.length]),
    };
    for (const { name, ...rest } of session.inputMetadata)
      if (name.startsWith('past') && rest.isTensor)
        feeds[name] = new ort.Tensor('float32', new Float32Array(0), [
          1,
          Number(rest.shape[1]),
          0,
          Number(rest.shape[3]),
        ]);
    return feeds;
  }

  /** Positions of other stories at which a file prefers another token than its floats, and not by a tie. */
  async function otherWords(path: string): Promise<number> {
    const [floats, session] = [await sessionOf(storyModel('fp32')), await sessionOf(path)];
    const words = CONFIG.vocabSize;
    let others = 0;
    for (const ids of storyTokens(tellStories(seededRandom(4242), 20))) {
      const [expected, got] = (await Promise.all(
        [floats, session].map(async (each) => (await each.run(textFeeds(each, ids))).logits!.data),
      )) as [Float32Array, Float32Array];
      for (let at = 0; at < got.length; at += words) {
        const [own, other] = [expected, got].map((logits) => logits.subarray(at, at + words)) as [
          Float32Array,
          Float32Array,
        ];
        if (argMax(own) !== argMax(other) && marginOf(own) > MARGIN) others++;
      }
    }
    await Promise.all([floats.release(), session.release()]);
    return others;
  }

  /** What products gain in their outputs, on the activations of real texts, in dB. */
  async function outputGains(
    model: Uint8Array,
    ...files: readonly ReadonlyMap<string, ReturnType<typeof quantizeWeights>>[]
  ): Promise<number[]> {
    const opened = await openModel(model);
    const { Edit } = await import('../src/edit/edit.ts');
    const { encodeModel, inline } = await import('../src/edit/encode.ts');
    const edit = new Edit(opened);
    const products = opened.root.graph.nodes.filter(({ opType }) => opType === 'MatMul');
    for (const name of new Set(products.map(({ inputs }) => inputs[0]!))) edit.outputs.push({ name });
    const session = await ort.InferenceSession.create(encodeModel(edit, inline).finish());
    const texts: ort.InferenceSession.OnnxValueMapType[] = [];
    for (const prompt of storyPrompts()) {
      texts.push(await session.run(textFeeds(session, prompt)));
    }
    return products.map(({ inputs, outputs }) => {
      const tensor = opened.root.tensors.get(inputs[1]!)!;
      const [K = 0, N = 0] = tensor.dims;
      const raw = tensor.storage.kind === 'raw' ? tensor.storage.range : undefined;
      const bytes = raw!.source.read(raw!.offset, raw!.length).slice();
      const weights = transposed(new Float32Array(bytes.buffer), K, N);
      const off = files.map((each) => dequantizeWeights(each.get(outputs[0]!)!).map((value, i) => value - weights[i]!));
      const noise = off.map((error) => {
        let sum = 0;
        for (const results of texts) {
          const x = results[inputs[0]!]!.data as Float32Array;
          for (let row = 0; row < x.length; row += K)
            for (let n = 0; n < N; n++) {
              let y = 0;
              for (let k = 0; k < K; k++) y += x[row + k]! * error[n * K + k]!;
              sum += y * y;
            }
        }
        return sum;
      });
      return 10 * Math.log10(noise[0]! / noise[1]!);
    });
  }
});

describe("PP-OCRv4's recogniser", () => {
  it('reads the same lines in plain onnxruntime-web and in MSD, its products better than rounded to nearest', async () => {
    const result = await quantize([recogniser, '-o', at('rec.onnx')]);
    expect(result.byteLength).toBeLessThan(0.25 * statSync(recogniser).size);
    for (const { name, sqnr, sqnrByRounding } of result.matrices)
      expect([name, sqnr - sqnrByRounding > 0.5]).toEqual([name, true]);
    await quantize([recogniser, '-o', at('rounded.onnx'), '--no-search']);
    // Images that the search never saw: its inputs were made up.
    const lines = [
      ['Invoice 2024-113: 48.50 EUR', 'DejaVuSans'],
      ['The quick brown fox', 'DejaVuSerif'],
      ['https://example.org/a?b=1', 'DejaVuSans'],
      ['Total: 1,234.56 EUR', 'DejaVuSans-Bold'],
      ['jumps over 13 lazy dogs', 'DejaVuSerif-Bold'],
    ] as const;
    const read = async (model: string, provider: 'wasm' | 'msd' = 'wasm') => {
      const session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
      // Its convolutions, too, are products of the file's integers: nothing of them became floats.
      const integers = result.matrices.reduce((sum, { byteLength }) => sum + byteLength, 0);
      if (provider === 'msd') expect(reportOf(session)!.weights.packedBytes).toBeGreaterThan(0.8 * integers);
      const [texts, scores]: [string[], Float32Array[]] = [[], []];
      for (const [i, [text, font]] of lines.entries()) {
        const results = await session.run({ [session.inputNames[0]!]: line(text, font, i % 2 === 1) });
        const tensor = results[session.outputNames[0]!]!;
        texts.push(textOf(tensor));
        scores.push(tensor.data as Float32Array);
      }
      await session.release();
      return { texts, scores };
    };
    const [floats, searched, rounded] = [
      await read(recogniser),
      await read(at('rec.onnx')),
      await read(at('rounded.onnx')),
    ];
    const sqnr = ({ scores }: typeof floats): number => {
      let [signal, noise] = [0, 0];
      for (const [i, own] of scores.entries())
        for (const [k, value] of floats.scores[i]!.entries()) {
          signal += value ** 2;
          noise += (own[k]! - value) ** 2;
        }
      return 10 * Math.log10(signal / noise);
    };
    console.log(
      `PP-OCRv4, int4, scores of ${lines.length} lines: ${sqnr(searched).toFixed(1)} dB, rounded ${sqnr(rounded).toFixed(1)} dB`,
    );
    expect(searched.texts).toEqual(floats.texts);
    expect(sqnr(searched)).toBeGreaterThan(sqnr(rounded) + 0.5);
    register(ort);
    expect((await read(at('rec.onnx'), 'msd')).texts).toEqual(floats.texts);
  }, 300_000);
});

describe('codes in the file', () => {
  const [N, K] = [7, 80];
  const odd = gaussian(N * K, 1);
  odd.fill(0, 0, 32); // a block of zeros
  odd.fill(0.75, 32, 64); // and a constant one

  it.each([
    ['int4', 'int4', 32, false],
    ['int4:16', 'int4', 16, false],
    ['int4:64', 'int4', 64, false],
    ['int4:128:asymmetric', 'int4', 128, true],
    ['int4:asymmetric', 'int4', 32, true],
    ['int8:32', 'int8', 32, false],
    ['int8:64:asymmetric', 'int8', 64, true],
    ['int2', 'int2', 32, false],
    ['int2:asymmetric', 'int2', 32, true],
  ] as const)(
    '%s without a search are those of @msd/core, bit for bit',
    async (form, format, blockSize, asymmetric) => {
      const path = put('odd.onnx', bytesOf(productModel(N, K, odd)));
      await quantize([path, '-o', at('codes.onnx'), '-f', form, '--no-search', '--force']);
      const [found] = (await nBitsOf(at('codes.onnx'))).values();
      expect(found).toEqual(quantizeWeights(odd, { N, K, format, blockSize, asymmetric }));
    },
  );

  it('of float16 models have float16 scales, to which codes are rounded', async () => {
    const path = put('half.onnx', bytesOf(productModel(N, K, odd, true)));
    await quantize([path, '-o', at('half-q.onnx'), '--no-search', '--force']);
    const [found] = (await nBitsOf(at('half-q.onnx'))).values();
    expect(found!.scales).toBeInstanceOf(Uint16Array);
    const reference = Float32Array.from(odd, (value) => {
      const bits = floatTensor('w', [1], Float32Array.of(value), true).data as Uint16Array;
      return half(bits[0]!);
    });
    expect(found).toEqual(quantizeWeights(reference, { N, K, format: 'int4', blockSize: 32, scale: 'f16' }));
  });

  const half = (bits: number): number => {
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  };

  it('of MXFP4 stand for its numbers exactly', async () => {
    const path = put('mx.onnx', bytesOf(productModel(N, K, odd)));
    await quantize([path, '-o', at('mx-q.onnx'), '-f', 'mxfp4', '--no-search', '--force']);
    const [found] = (await nBitsOf(at('mx-q.onnx'))).values();
    const reference = dequantizeWeights(quantizeWeights(odd, { N, K, format: 'mxfp4' }));
    expect(dequantizeWeights(found!).map((value) => value + 0)).toEqual(reference.map((value) => value + 0));
  });

  it('of MXFP4 are written in 8 bits, because ONNX Runtime runs none in 4', async () => {
    // The day that one of these runs, quantize can write it.
    const forms = [
      [23, 'float8e8m0', new Uint8Array(2 * 8).fill(127)],
      [23, 'float32', new Uint8Array(Float32Array.from({ length: 2 * 8 }, () => 1).buffer)],
      [24, 'float32', new Uint8Array(Float32Array.from({ length: 2 * 8 }, () => 1).buffer)],
    ] as const;
    for (const [opset, scale, bytes] of forms) {
      const encoded = (name: string, code: number, dims: readonly number[], raw: Uint8Array) => ({
        encoded: new Message().ints(1, dims).int(2, code).string(8, name).bytes(9, raw),
      });
      const model = bytesOf({
        irVersion: 11,
        opsets: { '': opset },
        graph: {
          nodes: [
            {
              opType: 'DequantizeLinear',
              inputs: ['q', 's'],
              outputs: ['w'],
              attributes: { axis: { int: 0 }, block_size: { int: 32 }, output_dtype: { int: 1 } },
            },
            { opType: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] },
          ],
          initializers: [
            encoded('q', 23, [64, 8], new Uint8Array((64 * 8) / 2)),
            encoded('s', scale === 'float32' ? 1 : 24, [2, 8], bytes),
          ],
          inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', 64] }],
          outputs: [{ name: 'y', dtype: 'float32' }],
        },
      });
      await expect(ort.InferenceSession.create(model, { logSeverityLevel: 4 })).rejects.toThrow(
        /Type 'tensor\(float8e8m0\)' of input parameter|Could not find an implementation for DequantizeLinear/,
      );
    }
  });

  it.each(['int4', 'int4:64:asymmetric', 'int8', 'int2', 'mxfp4'])(
    'of %s run in onnxruntime-web as they are meant',
    async (form) => {
      const path = put('run.onnx', bytesOf(productModel(N, K, odd)));
      await quantize([path, '-o', at('run-q.onnx'), '-f', form, '--force']);
      const [found] = (await nBitsOf(at('run-q.onnx'))).values();
      const reals = dequantizeWeights(found!);
      const x = gaussian(3 * K, 9);
      const { y } = await runPlain(at('run-q.onnx'), { x: new ort.Tensor('float32', x, [3, K]) });
      for (let row = 0; row < 3; row++)
        for (let n = 0; n < N; n++) {
          let [sum, size] = [0, 0];
          for (let k = 0; k < K; k++) {
            sum += x[row * K + k]! * reals[n * K + k]!;
            size += Math.abs(x[row * K + k]! * reals[n * K + k]!);
          }
          expect(Math.abs((y!.data as Float32Array)[row * N + n]! - sum)).toBeLessThanOrEqual(K * 2 ** -23 * size);
        }
    },
  );
});

describe('tables and heads', () => {
  it.each([
    ['copy', { GatherBlockQuantized: 1, MatMulNBits: 2, Mul: 1, Reshape: 1 }],
    ['Transpose', { GatherBlockQuantized: 1, MatMulNBits: 2, Mul: 1, Reshape: 1 }],
    ['Gemm', { GatherBlockQuantized: 1, MatMulNBits: 2, Mul: 1, Reshape: 1 }],
    ['own', { GatherBlockQuantized: 1, MatMulNBits: 2, Mul: 1 }],
  ] as const)('tied by %s are one matrix', async (head, counts) => {
    const path = put('tied.onnx', bytesOf(tokenModel(head)));
    const { matrices } = await quantize([path, '-o', at('tied-q.onnx'), '--force', '-f', 'int8:32']);
    expect(matrices.length).toBe(head === 'own' ? 3 : 2);
    const model = await openModel(at('tied-q.onnx'));
    expect(countsOf(model)).toEqual(counts);
    expect(model.record.graph.initializers.every(({ elemType, dims }) => elemType !== 1 || dims[1] !== 96)).toBe(true);
    model.close();
    const feeds = () => ({ input_ids: new ort.Tensor('int64', BigInt64Array.of(0n, 7n, 199n), [3]) });
    const [before, after] = [await runPlain(path, feeds()), await runPlain(at('tied-q.onnx'), feeds())];
    const [a, b] = [before.logits!.data as Float32Array, after.logits!.data as Float32Array];
    const noise =
      a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0) / a.reduce((sum, value) => sum + value ** 2, 0);
    // Three roundings to 8 bits, each at most 1/254 of the largest of 32.
    expect(Math.sqrt(noise)).toBeLessThan(0.03);
  });

  it('of positions stay as they are unless somebody names them', async () => {
    const model = tokenModel('own');
    const positions = {
      ...model,
      graph: {
        ...model.graph,
        inputs: [{ ...model.graph.inputs[0]!, name: 'position_ids' }],
        nodes: (model.graph.nodes as readonly NodeSpec[]).map((node) => ({
          ...node,
          inputs: node.inputs.map((name) => (name === 'input_ids' ? 'position_ids' : name)),
        })),
      },
    };
    const path = put('positions.onnx', bytesOf(positions));
    expect((await quantize([path, '-o', at('p.onnx'), '--force'])).matrices.length).toBe(2);
    const named = await quantize([path, '-o', at('p.onnx'), '--force', '-r', 'table=int8']);
    expect(named.matrices.map(({ name, form }) => [name, form])).toContainEqual(['table', 'int8:32']);
  });
});

describe('rules', () => {
  it('go by names, then by patterns in their order', async () => {
    const path = put('rules.onnx', bytesOf(tokenModel('own')));
    const { matrices, kept } = await quantize([
      path,
      '-o',
      at('rules-q.onnx'),
      '-r',
      '*head*=int8:64',
      '-r',
      'layer=keep',
      '-e',
      'int4',
    ]);
    expect(matrices.map(({ name, form }) => [name, form])).toEqual([
      ['table', 'int4:32'],
      ['head', 'int8:64'],
    ]);
    expect(kept).toEqual([{ name: 'layer', reason: 'as asked' }]);
  });
});

describe('bodies of If', () => {
  it('share what lies outside of them', async () => {
    const [N, K] = [24, 48];
    const branch = (name: string, after: 'Relu' | 'Neg') => ({
      graph: {
        nodes: [
          { opType: 'MatMul', name: `/${name}/MatMul`, inputs: ['x', 'w'], outputs: [`${name} product`] },
          { opType: after, inputs: [`${name} product`], outputs: [`${name} y`] },
        ],
        inputs: [],
        outputs: [{ name: `${name} y`, dtype: 'float32' as const }],
      },
    });
    const base = productModel(N, K, gaussian(N * K, 6));
    const path = put(
      'if.onnx',
      bytesOf({
        ...base,
        graph: {
          ...base.graph,
          inputs: [...base.graph.inputs, { name: 'flag', dtype: 'bool', dims: [] }],
          nodes: [
            {
              opType: 'If',
              inputs: ['flag'],
              outputs: ['y'],
              attributes: { then_branch: branch('then', 'Relu'), else_branch: branch('else', 'Neg') },
            },
          ],
        },
      }),
    );
    const { matrices } = await quantize([path, '-o', at('if-q.onnx')]);
    expect(matrices).toHaveLength(1);
    const model = await openModel(at('if-q.onnx'));
    expect(countsOf(model)).toEqual({ If: 1, MatMulNBits: 2, Relu: 1, Neg: 1 });
    expect(model.record.graph.initializers.map(({ name }) => name)).toEqual(['w_Q4', 'w_scales']);
    model.close();
    const x = gaussian(K, 7);
    for (const flag of [0, 1]) {
      const feeds = () => ({
        x: new ort.Tensor('float32', x, [1, K]),
        flag: new ort.Tensor('bool', Uint8Array.of(flag), []),
      });
      const [a, b] = [await runPlain(path, feeds()), await runPlain(at('if-q.onnx'), feeds())];
      expect(Math.abs((a.y!.data as Float32Array)[0]! - (b.y!.data as Float32Array)[0]!)).toBeLessThan(2);
      expect((b.y!.data as Float32Array).some((value) => value !== 0)).toBe(true);
    }
  });
});

describe('external data', () => {
  it('comes and goes: out of a file, into a file', async () => {
    const path = put('one.onnx', bytesOf(tokenModel('own')));
    const out = await quantize([path, '-o', at('ext/model_q4.onnx'), '--external-data', '-r', 'layer=keep']);
    expect(out.files.map((file) => file.path)).toEqual([at('ext/model_q4.onnx'), at('ext/model_q4.onnx_data')]);
    const data = [{ path: 'model_q4.onnx_data', data: at('ext/model_q4.onnx_data') }];
    const feeds = () => ({ input_ids: new ort.Tensor('int64', BigInt64Array.of(5n, 6n), [2]) });
    const first = await runPlain(at('ext/model_q4.onnx'), feeds(), data);
    // The float layer that is left lies in the external file, and is found there.
    const again = await quantize([at('ext/model_q4.onnx'), '-o', at('ext/again.onnx')]);
    expect(again.matrices.map(({ name }) => name)).toEqual(['layer']);
    expect(again.files).toHaveLength(2);
    const second = await runPlain(at('ext/again.onnx'), feeds(), [
      { path: 'again.onnx_data', data: at('ext/again.onnx_data') },
    ]);
    const [a, b] = [first.logits!.data as Float32Array, second.logits!.data as Float32Array];
    expect(Math.max(...a.map((value, i) => Math.abs(value - b[i]!)))).toBeLessThan(0.35 * Math.max(...a.map(Math.abs)));
    expect(readdirSync(at('ext')).sort()).toEqual([
      'again.onnx',
      'again.onnx_data',
      'model_q4.onnx',
      'model_q4.onnx_data',
    ]);
  });
});

/** A person presses it once. */
function once(when: (stderr: string) => boolean): (stderr: string) => boolean {
  let isDone = false;
  return (stderr) => {
    const isNow = !isDone && when(stderr);
    isDone ||= isNow;
    return isNow;
  };
}

describe('what cannot be', () => {
  const failing = async (args: readonly string[], fileKilobytes?: number): Promise<string> => {
    const { exitCode, stderr, stdout } = await msd(['quantize', ...args], { fileKilobytes });
    expect(exitCode).not.toBe(0);
    expect(stdout).toBe('');
    return stderr.trim().split('\n').at(-1)!;
  };

  it('weights that are no numbers stay floats, and the reason is told', async () => {
    const weights = gaussian(64 * 64, 8);
    weights[70] = Number.NaN;
    const model = tokenModel('own');
    const initializers = model.graph.initializers!.map((tensor) =>
      'name' in tensor && tensor.name === 'head'
        ? floatTensor('head', [96, 200], gaussian(96 * 200, 1).fill(Number.POSITIVE_INFINITY, 3, 4))
        : tensor,
    );
    const path = put('nan.onnx', bytesOf({ ...model, graph: { ...model.graph, initializers } }));
    const { kept, matrices } = await quantize([path, '-o', at('nan-q.onnx')]);
    expect(kept).toEqual([{ name: 'head', reason: 'weight [3, 0] is Infinity' }]);
    expect(matrices.map(({ name }) => name)).toEqual(['table', 'layer']);
  });

  it('says so in one sentence', async () => {
    const path = put('plain.onnx', bytesOf(productModel(32, 64, gaussian(2048, 2))));
    const out = at('never.onnx');
    expect(await failing([path])).toContain("Required option '-o, --output <path>' not specified");
    expect(await failing([path, '-o', out, '-f', 'int3'])).toBe(
      "--format: expected int8, int4, int2, mxfp4 or keep, and behind it :32, :64, :128, :asymmetric, got 'int3'.",
    );
    expect(await failing([path, '-o', out, '-f', 'mxfp4:64'])).toContain('MXFP4 has blocks of 32');
    expect(await failing([path, '-o', out, '-r', 'int8'])).toContain('--rule: expected PATTERN=FORMAT');
    expect(await failing([path, '-o', out, '-r', 'lm_head*=int8'])).toContain(
      'no weights and no node have such a name. Names are like /layer/MatMul, w.',
    );
    expect(await failing([path, '-o', path, '--force'])).toContain('is the model itself');
    expect(await failing([path, '-o', out, '--calibrate-rows', '0'])).toContain('expected a positive integer');
    expect(await failing([path, '-o', out, '-c', at('nothing.txt')])).toContain('cannot be read');
    writeFileSync(at('some.txt'), 'some text');
    expect(await failing([path, '-o', out, '-c', at('some.txt')])).toContain('has no tokenizer.json');
    writeFileSync(at('bad.npz'), 'no archive');
    expect(await failing([path, '-o', out, '-c', at('bad.npz')])).toContain('expected an .npz archive');
    expect(await failing([at('none.onnx'), '-o', out])).toContain('does not exist');
    expect(await failing([folder, '-o', out, '--dtype', 'q8'])).toContain('q8');
    expect(await failing([path, '-o', join(path, 'below', 'x.onnx')])).toContain(
      'a part of this path is a file, not a folder',
    );
    // Before the model is run, which may take long.
    const there = await msd(['quantize', path, '-o', put('there.onnx', new Uint8Array())]);
    expect(there.stderr).toContain('there.onnx exists. Add --force');
    expect(there.stderr).not.toContain('Running');
    writeFileSync(at('text.onnx'), 'hello');
    expect(await failing([at('text.onnx'), '-o', out])).toContain('expected an ONNX file');
    expect(existsSync(out)).toBe(false);
    await quantize([path, '-o', at('q.onnx')]);
    expect(await failing([at('q.onnx'), '-o', out])).toContain('no float weights to quantize');
    expect(await failing(['https://example.org/model.onnx', '-o', out])).toContain('is not on this disk');
  });

  it('Ctrl-C leaves nothing behind', async () => {
    mkdirSync(at('stop'));
    const path = put('large.onnx', bytesOf(productModel(2048, 1024, gaussian(2 ** 21, 2))));
    const ended = await msd(['quantize', path, '-o', at('stop/new/model.onnx'), '--no-calibrate'], {
      interruptWhen: once((stderr) => stderr.includes('Quantizing')),
    });
    expect(ended.exitCode).toBe(130);
    expect(readdirSync(at('stop'))).toEqual([]);
  });

  /** As on a disk that is full: no file may become longer than this. */
  const limited = (kilobytes: number, args: readonly string[]): Promise<string> => failing(args, kilobytes);

  // Limits by what is being written then: codes; what is copied behind or around them; the small files beside.
  it.skipIf(process.platform === 'win32').each<[string, string[], number]>([
    ['codes', [], 4],
    ['the model around its codes', ['-r', 'head=keep'], 40],
    ['external codes', ['--external-data'], 4],
    ['what is copied behind them', ['--external-data', '-r', 'head=keep'], 40],
  ])('a full disk leaves nothing behind: %s', async (_, args, kilobytes) => {
    mkdirSync(at('full'), { recursive: true });
    const path = put('float.onnx', bytesOf(tokenModel('own')));
    const said = await limited(kilobytes, [path, '-o', at('full/new/model.onnx'), '--no-calibrate', ...args]);
    expect(said).toMatch(/too large a file for this disk \(EFBIG\)\. Choose a folder on another disk with -o\.$/);
    expect(readdirSync(at('full'))).toEqual([]);
  });

  it.skipIf(process.platform === 'win32')('a full disk leaves nothing behind: what lies beside the model', async () => {
    mkdirSync(at('beside/onnx'), { recursive: true });
    put('beside/onnx/model.onnx', bytesOf(tokenModel('own')));
    put('beside/tokenizer.json', new Uint8Array(200_000));
    const said = await limited(100, [at('beside'), '-o', at('beside-out'), '--no-calibrate']);
    expect(said).toContain('too large a file for this disk (EFBIG)');
    expect(existsSync(at('beside-out'))).toBe(false);
  });

  it('a folder or a data file in its place is seen before any work', async () => {
    const path = put('in-place.onnx', bytesOf(tokenModel('own')));
    put('taken.onnx_data', new Uint8Array(1));
    const taken = await msd(['quantize', path, '-o', at('taken.onnx'), '--external-data']);
    expect(taken.stderr).toContain('taken.onnx_data exists. Add --force');
    expect(taken.stderr).not.toContain('Running');
    mkdirSync(at('folder.onnx'));
    const inPlace = await msd(['quantize', path, '-o', at('folder.onnx'), '--force']);
    expect(inPlace.stderr).toContain('folder.onnx is a folder. Choose another name.');
    expect(inPlace.stderr).not.toContain('Running');
    expect(readdirSync(at('folder.onnx'))).toEqual([]);
  });

  it('a dry run writes nothing', async () => {
    const path = put('dry.onnx', bytesOf(tokenModel('own')));
    const { matrices } = await quantize([path, '-o', at('dry/out.onnx'), '--dry-run']);
    expect(matrices).toHaveLength(3);
    expect(existsSync(at('dry'))).toBe(false);
  });

  it.each(['copy', 'Transpose', 'Gemm', 'own'] as const)(
    'the size is known before: a head that is %s',
    async (head) => {
      const path = put('size.onnx', bytesOf(tokenModel(head)));
      const args = [path, '-o', at('size-out.onnx'), '--no-calibrate', '--force'];
      const { expectedBytes } = (await quantize([...args, '--dry-run'])) as Result & { readonly expectedBytes: number };
      const { byteLength } = await quantize(args);
      // Names of new tensors and what nodes ask for come on top.
      expect(Math.abs(byteLength - expectedBytes)).toBeLessThan(1500);
    },
  );
});
