import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { measureAccuracy, type ReferenceText, smallestMargin } from './compare.ts';
import { loadDecoder } from './engines.ts';
import { writeModelFolder } from './model-files.ts';
import { encodePrompt, openModelFolder } from './model-folder.ts';
import { PROMPTS } from './prompts.ts';
import { sessionReference, storyReference } from './reference.ts';

const TOKENS = 200;
const path = mkdtempSync(join(tmpdir(), 'story-reference-'));
beforeAll(() => {
  writeModelFolder(pathToFileURL(`${path}/`));
});
afterAll(() => rmSync(path, { recursive: true }));

describe('the shipped int4 model on the shipped prompts', () => {
  it('writes the same 200 tokens in both engines, with logits of at least 60 dB', async () => {
    const folder = openModelFolder(path);
    const prompts = PROMPTS.map((prompt) => encodePrompt(folder, prompt, TOKENS));
    const reference = storyReference();
    const references: ReferenceText[] = [];
    for (const prompt of prompts) references.push(await reference(prompt, TOKENS));
    // Below that, rounding alone may choose another token.
    expect(smallestMargin(references)).toBeGreaterThan(0.02);
    const decoders = { ort: await loadDecoder('ort', folder), msd: await loadDecoder('msd', folder) };
    const { ort, msd } = await measureAccuracy(decoders, prompts, references, () => {});
    for (const { identicalTokens } of [ort, msd]) expect(identicalTokens).toBe(TOKENS);
    expect(msd.sqnrDb).toBeGreaterThan(60);
    // float32 sums against float64 ones: some 20 bits.
    expect(ort.sqnrDb).toBeGreaterThan(110);
    // A session is a reference, too: of itself it says the very same.
    const [prompt = []] = prompts;
    expect((await sessionReference(decoders.msd)(prompt, 20)).ids).toEqual(references[0]?.ids.slice(0, 20));
  });
});
