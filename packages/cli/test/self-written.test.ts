/** Texts that the shipped story model writes for its own calibration. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { storyModel } from '../../onnx/test/story.ts';
import { selfWritten } from '../src/quantize/self-written.ts';
import { temporaryFolder } from './folders.ts';
import { bytesOf, ort, runPlain, tokenModel } from './models.ts';

const folder = temporaryFolder();
const path = join(folder.path, 'model.onnx');
beforeAll(() => writeFileSync(path, storyModel('fp32')));
afterAll(() => folder.remove());

const open = (model: Uint8Array): Promise<ort.InferenceSession> => ort.InferenceSession.create(model);
const OPTIONS = { texts: 5, tokens: 24, begin: 1, words: 400, onStep: () => {} };

describe('what a decoder writes itself', () => {
  it('is what it finds likely, all of it: each token after those before it', async () => {
    const session = await open(storyModel('fp32'));
    const steps: string[] = [];
    const written = (await selfWritten(session, { ...OPTIONS, onStep: (...at) => steps.push(at.join()) }))!;
    expect(written.map((ids) => [ids.length, ids[0]])).toEqual(new Array(5).fill([24, 1]));
    expect(new Set(written.map(String)).size).toBe(5);
    expect(steps).toEqual(Array.from({ length: 23 }, (_, i) => `${i},23`));
    expect(await selfWritten(session, OPTIONS)).toEqual(written);
    // Of a text as a whole: the log-probability of its tokens is about what the model's entropy says, far above that of words at random.
    for (const ids of written) {
      const n = ids.length;
      const feeds: Record<string, ort.Tensor> = {
        input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, n]),
        attention_mask: new ort.Tensor('int64', new BigInt64Array(n).fill(1n), [1, n]),
      };
      for (const input of session.inputMetadata)
        if (input.name.startsWith('past') && input.isTensor)
          feeds[input.name] = new ort.Tensor('float32', [], [1, Number(input.shape[1]), 0, Number(input.shape[3])]);
      const { logits } = await runPlain(path, feeds);
      const [data, words] = [logits!.data as Float32Array, logits!.dims.at(-1)!];
      let surprise = 0;
      for (let at = 1; at < n; at++) {
        const row = data.subarray((at - 1) * words, at * words);
        const most = row.reduce((a, b) => Math.max(a, b));
        surprise += most + Math.log(row.reduce((sum, x) => sum + Math.exp(x - most), 0)) - row[ids[at]!]!;
      }
      expect(surprise / (n - 1)).toBeLessThan(0.6 * Math.log(words));
    }
    await session.release();
  });

  it('begins with a word each where no token is said to begin texts', async () => {
    const session = await open(storyModel('fp32'));
    const written = (await selfWritten(session, { ...OPTIONS, tokens: 2, begin: undefined }))!;
    expect(new Set(written.map(([first]) => first)).size).toBeGreaterThan(1);
    expect(written.every(([first]) => first! >= 0 && first! < OPTIONS.words)).toBe(true);
    await session.release();
  });

  it('is nothing where a model does not write word by word', async () => {
    const session = await open(bytesOf(tokenModel('own')));
    expect(await selfWritten(session, OPTIONS)).toBeUndefined();
    await session.release();
  });
});
