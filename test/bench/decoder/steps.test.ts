/**
 * Ten thousand tokens leave nothing behind: neither in WebAssembly's memory nor in JavaScript's, whatever the cache is made of. With caches
 * that are not the default two thousand, and fewer layers, but in the long tier.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { writeModel } from '@msd/onnx/write';
import { describe, expect, it } from 'vitest';
import { reportOf } from '../../../packages/onnx/src/register.ts';
import { ort, session } from '../../../packages/onnx/test/ort.ts';
import { CONFIG, storyModel } from '../../../packages/onnx/test/story.ts';
import { DECODERS, type DecoderShape, decoderModel, scaled } from '../models/decoder.ts';
import { Reader, randomCache, tokens } from './reader.ts';

const isLong = process.env.MSD_TEST_ALL === '1';
const stepsOf = (kvCache: string): number => (isLong || kvCache === 'int16' ? 10_000 : 2000);
/** Tokens of one text: two pages of a cache, and some keys of the third. */
const TEXT = 150;
/** What a step may leave on JavaScript's heap, on average. */
const STEP_BYTES = 200;

const story: DecoderShape = { ...CONFIG, name: 'story', biases: false };
const qwen = DECODERS.find(({ name }) => name === 'qwen2.5-0.5b')!;
const layers = isLong ? qwen.layers : 4;
const narrow: DecoderShape = { ...scaled(qwen, { layers, scale: 0.1 }), vocabSize: 4096 };

const models: readonly [string, DecoderShape, () => Uint8Array][] = [
  ['the story model', story, () => storyModel('q4')],
  [`${layers} narrow layers of a 0.5B`, narrow, () => writeModel(decoderModel(narrow, 'int4'))],
];

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

describe.each(models)('%s', (_, shape, bytes) => {
  it.each(['int16', 'int8', 'model'])('a cache of %s', { timeout: 600_000 }, async (kvCache) => {
    const decoder = await session(bytes(), { name: 'msd', kvCache });
    expect(reportOf(decoder)!.foreignRunsPerCall).toBe(0);
    const ids = tokens(TEXT, shape.vocabSize);
    const run = async (steps: number): Promise<number> => {
      for (let done = 0; done < steps; ) {
        const reader = Reader.from({ ort }, decoder, shape, randomCache(shape, 0));
        for (const id of ids.slice(0, steps - done)) await reader.read([id]);
        done += Math.min(TEXT, steps - done);
        reader.dispose();
      }
      // Of what is collected in one turn, finalizers may hold something until the next.
      for (let i = 0; i < 3; i++) {
        await new Promise((resolve) => setImmediate(resolve));
        collect();
      }
      return process.memoryUsage().heapUsed;
    };
    await run(2 * TEXT);
    const before = await run(2 * TEXT);
    const { memory, plans } = reportOf(decoder)!;
    const steps = stepsOf(kvCache);
    const after = await run(steps);
    expect((after - before) / steps).toBeLessThan(STEP_BYTES);
    expect(reportOf(decoder)).toMatchObject({ memory, plans });
    await decoder.release();
  });
});
