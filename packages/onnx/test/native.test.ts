/** onnxruntime-node, native code, in the place of onnxruntime-web: what it is fed, what it is asked for. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type * as Ort from 'onnxruntime-web';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type MsdOptions, register, reportOf } from '../src/register.ts';
import { CLOSE, relativeL2 } from './close.ts';
import { gaussian, makeMatrix, model, random } from './models.ts';
import { storyModel, storyPrompts } from './story.ts';
import { argMax } from './text.ts';

// As Transformers.js finds it.
const require = createRequire(createRequire(import.meta.url).resolve('@huggingface/transformers'));
const ort = require('onnxruntime-node') as typeof Ort;

const [H, N] = [64, 32];
const a = makeMatrix({ name: 'a', N: H, K: H, seed: 4 });
const b = makeMatrix({ name: 'b', N, K: H, seed: 5 });
/** The table is large enough to travel beside a model of its own. */
const table = gaussian(random(2), 400 * H);
/** Two regions of ONNX Runtime's, each fed with what MSD computed. */
const mixed = model({
  nodes: [
    a.node('x', 'p'),
    { opType: 'Mish', inputs: ['p'], outputs: ['s'] },
    { opType: 'Det', inputs: ['square'], outputs: ['d'] },
    { opType: 'MatMul', inputs: ['table', 'turned'], outputs: ['long'] },
    { opType: 'ReduceL1', inputs: ['long'], outputs: ['l'], attributes: { keepdims: { int: 0 } } },
    { opType: 'Transpose', inputs: ['s'], outputs: ['turned'], attributes: { perm: { ints: [1, 0] } } },
    b.node('s', 'y'),
  ],
  initializers: [
    ...a.initializers,
    ...b.initializers,
    { name: 'table', dtype: 'float32', dims: [400, H], data: table },
    { name: 'square', dtype: 'float32', dims: [2, 2], data: new Float32Array([1, 2, 3, 4]) },
  ],
  inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', H] }],
  outputs: [
    { name: 'y', dtype: 'float32', dims: ['rows', N] },
    { name: 'l', dtype: 'float32', dims: [] },
    { name: 'd', dtype: 'float32', dims: [] },
  ],
});

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-native-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The token that the last row of logits likes most. */
const bestOf = ({ data, dims }: Ort.Tensor): number => argMax((data as Float32Array).slice(-dims.at(-1)!));

const session = (bytes: Uint8Array | string, provider: string | object): Promise<Ort.InferenceSession> =>
  ort.InferenceSession.create(bytes as string, {
    executionProviders: [provider] as Ort.InferenceSession.ExecutionProviderConfig[],
    logSeverityLevel: 3,
  });

describe('onnxruntime-node', () => {
  const x = new ort.Tensor('float32', gaussian(random(9), 3 * H), [3, H]);

  it('registers without a warning', () => {
    const warn = vi.spyOn(process, 'emitWarning');
    register(ort);
    register(ort, { fallback: ['cpu'] });
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  it.each<[string, MsdOptions]>([
    ['one thread', { threads: 1 }],
    ['two threads, whose memory is shared', { threads: 2 }],
    ['all that MSD has', { threads: 2, claim: 'all' }],
    ['the provider named', { threads: 2, fallback: ['cpu'] }],
  ])('runs what MSD does not have: %s', async (_, options) => {
    register(ort);
    const [plain, msd] = [await session(mixed, 'cpu'), await session(mixed, { name: 'msd', ...options })];
    expect(reportOf(msd)!.foreignRunsPerCall).toBeGreaterThan(0);
    expect(reportOf(msd)!.nodes.some(({ where }) => where === 'msd')).toBe(true);
    // Twice at once: each gets what it asked for.
    const [want, ...got] = await Promise.all([plain.run({ x }), msd.run({ x }), msd.run({ x })]);
    for (const results of got)
      for (const name of ['y', 'l', 'd'])
        expect(relativeL2(results[name]!.data as Float32Array, want[name]!.data as Float32Array)).toBeLessThan(CLOSE);
    await plain.release();
    await msd.release();
  });

  it('is fed halves as the bits that it reads, whatever array the tensor of its caller holds', async () => {
    register(ort);
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const negate = model({
      nodes: [{ opType: 'Neg', inputs: ['x'], outputs: ['y'] }],
      inputs: [{ name: 'x', dtype: 'float16', dims: ['n'] }],
      outputs: [{ name: 'y', dtype: 'float16', dims: ['n'] }],
    });
    const bits = Uint16Array.of(0x3c00, 0xc000, 0x0001);
    const x = new ort.Tensor('float16', bits, [3]);
    const kind = x.data.constructor;
    const msd = await session(negate, 'msd');
    const { y } = await msd.run({ x });
    const { buffer, byteOffset } = y!.data as unknown as Uint16Array;
    expect([...new Uint16Array(buffer, byteOffset, 3)]).toEqual([0xbc00, 0x4000, 0x8001]);
    // The caller's tensor is as it was.
    expect(x.data.constructor).toBe(kind);
    await msd.release();
    vi.restoreAllMocks();
  });

  it('is given a model by its path, with files beside it, whole and cut', async () => {
    register(ort);
    const path = join(folder, 'mixed.onnx');
    writeFileSync(path, mixed);
    const msd = await session(path, 'msd');
    expect((await msd.run({ x })).y!.dims).toEqual([3, N]);
    await msd.release();
    writeFileSync(path, storyModel('fp32'));
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const whole = await session(path, 'msd');
    expect(reportOf(whole)!.whole).toBeDefined();
    await whole.release();
    vi.restoreAllMocks();
  });

  it('takes back the keys and values that MSD keeps', async () => {
    register(ort);
    const [tokens] = storyPrompts();
    const bytes = storyModel('q4');
    const [plain, msd] = [await session(bytes, 'cpu'), await session(bytes, 'msd')];
    const ids = (from: number, to: number) =>
      new ort.Tensor('int64', BigInt64Array.from(tokens!.slice(from, to), BigInt), [1, to - from]);
    const feeds = (from: number, to: number, past: Ort.InferenceSession.OnnxValueMapType) => ({
      input_ids: ids(from, to),
      attention_mask: new ort.Tensor('int64', new BigInt64Array(to).fill(1n), [1, to]),
      ...past,
    });
    const pastOf = (results: Ort.InferenceSession.OnnxValueMapType) =>
      Object.fromEntries(
        Object.entries(results).flatMap(([name, value]) =>
          name.startsWith('present') ? [[name.replace('present', 'past_key_values'), value]] : [],
        ),
      );
    const empty = Object.fromEntries(
      plain.inputMetadata.flatMap((input) =>
        input.name.startsWith('past')
          ? [
              [
                input.name,
                new ort.Tensor(
                  'float32',
                  [],
                  (input as { shape: readonly unknown[] } as { shape: number[] }).shape.with(0, 1).with(2, 0),
                ),
              ],
            ]
          : [],
      ),
    );
    const first = await msd.run(feeds(0, 2, empty));
    // What MSD kept goes into native code, and what that computed into MSD.
    const want = await plain.run(feeds(2, 4, pastOf(await plain.run(feeds(0, 2, empty)))));
    for (const each of [plain, msd]) {
      const { logits } = await each.run(feeds(2, 4, pastOf(first)));
      // Native code rounds activations to 8 bits here: the same next token.
      expect(bestOf(logits!)).toBe(bestOf(want.logits!));
    }
    await plain.release();
    await msd.release();
  });
});
