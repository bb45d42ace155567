/** `msd verify` as a user runs it. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { quantizeWeights } from '@msd/core';
import type { TensorSpec } from '@msd/onnx/write';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeModel } from '../../onnx/src/write/index.ts';
import { bnb4 } from '../../onnx/test/bnb4-model.ts';
import { MERGED, mergedGraph } from '../../onnx/test/merged.ts';
import { storyModel } from '../../onnx/test/story.ts';
import type { Engine } from '../src/feeds/engines.ts';
import type { VerifyResult } from '../src/verify/verify.ts';
import { bytesOf, gaussian, nBitsModel, productModel, tokenModel } from './models.ts';
import { msd, msdJson } from './msd.ts';

type Result = VerifyResult & { readonly asText?: Readonly<Record<Engine | 'float', string>> };

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-verify-'));
  mkdirSync(join(folder, 'story/onnx'), { recursive: true });
  writeFileSync(join(folder, 'story/onnx/model_q4.onnx'), storyModel('q4'));
  const root = fileURLToPath(new URL('../../../examples/story-model/model/', import.meta.url));
  for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json'])
    writeFileSync(join(folder, 'story', name), readFileSync(join(root, name)));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it.each(['nf4', 'fp4'] as const)('codebooks: %s are compared with their own numbers', async (format) => {
  const path = join(folder, 'bnb4.onnx');
  writeFileSync(path, bnb4({ N: 48, K: 256, format }).bytes);
  const { layers, whole, kept } = await msdJson<Result>(['verify', path]);
  expect(kept).toEqual([]);
  expect(layers.map(({ name }) => name)).toEqual(['B']);
  // ONNX Runtime sums the same floats; NF4 in two integers is 96 dB and more.
  expect(whole.ort.sqnr ?? Infinity).toBeGreaterThan(120);
  expect(whole['msd-2'].sqnr).toBeGreaterThan(80);
  expect(whole['msd-2'].sqnr - whole['msd-1'].sqnr).toBeGreaterThan(40);
});

describe('the shipped story model', () => {
  it('is compared layer by layer, and as a text', async () => {
    const prompt = 'Long ago, in a dark forest, there lived a curious fox named Lily.';
    const { layers, whole, texts, asText, kept } = await msdJson<Result>([
      'verify',
      join(folder, 'story'),
      '--prompt',
      prompt,
      '-n',
      '12',
    ]);
    expect(kept).toEqual([]);
    expect(layers).toHaveLength(15);
    for (const { losses } of layers) {
      // A component more is about 48 dB: 254 times finer steps.
      expect(losses['msd-2'].sqnr - losses['msd-1'].sqnr).toBeGreaterThan(44);
      expect(losses['msd-2'].sqnr - losses['msd-1'].sqnr).toBeLessThan(52);
      expect(losses['msd-1'].worst!.sqnr).toBeLessThanOrEqual(losses['msd-1'].sqnr + 0.01);
    }
    expect(whole['msd-2'].sqnr).toBeGreaterThan(70);
    expect(whole['msd-2'].flips).toEqual([]);
    expect(texts!.float.tokens).toHaveLength(12);
    expect(texts!.engines['msd-2'].tokens).toEqual(texts!.float.tokens);
    expect(asText!['msd-2']).toBe(asText!.float);
    expect(asText!.float.split(' ').length).toBeGreaterThan(6);
  });

  it('is shown as text', async () => {
    const { stdout, exitCode } = await msd(['verify', join(folder, 'story')]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('the whole model');
    expect(stdout).toContain('MSD, 2 components: the same token at all 16 positions.');
    expect(stdout).toMatch(
      /Worst inputs, MSD, 1 component:\n {2}\S+, row \d+ \('.*'\): [\d.]+ dB; channel \d+ is [\d.]+ times the mean/,
    );
  });
});

describe('a flip', () => {
  it('is traced to the product that makes it', async () => {
    // One channel of what the head is given is 1000 times the others, and the head has no use for it: an activation of 8 bits
    // spends them on that channel, and little is left of the others.
    const [width, words] = [256, 400];
    const model = tokenModel('own', words, width);
    const initializers = model.graph.initializers!.map((tensor) => {
      const { name, data } = tensor as TensorSpec & { readonly data: Float32Array };
      const changed = (
        change: (value: number, row: number, column: number) => number,
        columns: number,
      ): TensorSpec => ({
        ...(tensor as TensorSpec),
        data: data.map((value, i) => change(value, Math.floor(i / columns), i % columns)),
      });
      if (name === 'layer') return changed((value, _, n) => (n === 0 ? 1000 * value : value), width);
      return name === 'head' ? changed((value, k) => (k === 0 ? 0 : value), words) : tensor;
    });
    const path = join(folder, 'float.onnx');
    writeFileSync(path, bytesOf({ ...model, graph: { ...model.graph, initializers } }));
    const quantized = join(folder, 'flips.onnx');
    await msdJson(['quantize', path, '-o', quantized, '-f', 'int8', '--no-search']);
    const { whole, layers } = await msdJson<Result>(['verify', quantized]);
    const { flips, first, positions } = whole['msd-1'];
    expect(positions).toBe(16);
    expect(flips.length).toBeGreaterThan(positions / 2);
    expect(first).toMatchObject({ position: flips[0], product: layers.at(-1)!.name });
    expect(first!.from).not.toBe(first!.to);
    expect(first!.margin).toBeGreaterThan(0);
    expect(layers.at(-1)!.losses['msd-1'].worst!.channel).toBe(0);
    // 48 dB for a component, less what cannot get lost: below 0 dB nothing is left.
    expect(whole['msd-2'].sqnr).toBeGreaterThan(whole['msd-1'].sqnr + 30);
    const { stdout } = await msd(['verify', quantized]);
    expect(stdout).toContain(`${flips.length} of 16`);
  });
});

describe('a merged decoder', () => {
  it('is looked at in the branch of a first run, wherever its tensors lie', async () => {
    const path = join(folder, 'merged.onnx');
    const graph = mergedGraph({ encoder: 'same' });
    // Large enough to be put beside the model.
    const bulk = { name: 'bulk', dtype: 'float32' as const, dims: [400], data: gaussian(400, 1) };
    const model = writeModel({
      graph: {
        ...graph,
        nodes: [...graph.nodes, { opType: 'Identity', inputs: ['bulk'], outputs: ['copy'] }],
        initializers: [...graph.initializers!, bulk],
        outputs: [...graph.outputs, { name: 'copy', dtype: 'float32', dims: [400] }],
      },
    });
    writeFileSync(path, model);
    const beside = join(folder, 'merged-beside.onnx');
    await msdJson(['rewrite', path, '-o', beside, '--to', 'qdq', '--external-data', '--no-check']);
    expect(existsSync(`${beside}_data`)).toBe(true);
    for (const each of [path, beside]) {
      const { layers, whole, falseInputs, kept } = await msdJson<Result>(['verify', each]);
      expect(falseInputs).toEqual(['flag']);
      expect(kept).toEqual([]);
      expect(layers.map(({ N }) => N)).toEqual([...new Array(8).fill(MERGED.width), MERGED.vocabulary]);
      for (const { losses } of layers) expect(losses['msd-2'].sqnr).toBeGreaterThan(60);
      expect(whole['msd-2'].sqnr).toBeGreaterThan(60);
    }
    const { stdout } = await msd(['verify', path]);
    expect(stdout).toContain('Where flag chooses, the branch for false was looked at: a first run.');
  });
});

describe('what cannot be', () => {
  const failing = async (args: readonly string[]): Promise<string> => {
    const { exitCode, stderr } = await msd(['verify', ...args]);
    expect(exitCode).not.toBe(0);
    return stderr.trim().split('\n').at(-1)!;
  };

  it('is said in one sentence', async () => {
    const path = join(folder, 'plain.onnx');
    writeFileSync(path, bytesOf(productModel(32, 64, gaussian(2048, 2))));
    expect(await failing([path])).toContain(
      'no products of quantized weights to verify. Quantize it first: msd quantize',
    );
    expect(await failing([path, '-n', 'many'])).toContain('--tokens: expected an integer');
    const quantized = join(folder, 'q.onnx');
    await msdJson(['quantize', path, '-o', quantized]);
    expect(await failing([quantized, '--prompt', 'x'])).toContain('the model reads no text');
    expect(await failing([quantized, '--inputs', 'nothing.npz'])).toContain('cannot be read');
    const { graph, ...model } = nBitsModel(
      quantizeWeights(gaussian(8 * 64, 1), { N: 8, K: 64, format: 'int4', blockSize: 32 }),
      17,
    );
    const odd = { name: 'odd', dtype: 'int64' as const, dims: [1], data: BigInt64Array.of(9n) };
    const nodes = [...graph.nodes, { opType: 'Reshape', inputs: ['y', 'odd'], outputs: ['z'] }];
    const initializers = [...(graph.initializers ?? []), odd];
    const outputs = [{ name: 'z', dtype: 'float32' as const }];
    writeFileSync(path, bytesOf({ ...model, graph: { ...graph, nodes, initializers, outputs } }));
    const { stderr } = await msd(['verify', path]);
    expect(stderr).toMatch(/ONNX Runtime does not run it on such inputs \(.*Reshape.*Give others/);
    expect(stderr.match(/requested shape:\{9\}/g)).toHaveLength(1); // nor a line of ONNX Runtime's own log
    expect(stderr).not.toMatch(/^ +at /m); // no stack
  });
});
