import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeModelFolder } from './model-files.ts';
import { PROMPTS } from './prompts.ts';

const folder = mkdtempSync(join(tmpdir(), 'story-start-'));
const corrupt = join(folder, 'corrupt');
beforeAll(() => {
  for (const each of [folder, corrupt]) writeModelFolder(pathToFileURL(`${each}/`));
  truncateSync(join(corrupt, 'onnx', 'model_q4.onnx'), 100_000);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs start.ts in a process of its own, as `npm start` does. */
function start(...args: string[]): Promise<{ code: number; out: string; errors: string }> {
  const script = fileURLToPath(new URL('start.ts', import.meta.url));
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...args], { env: { ...process.env, NO_COLOR: '1' } }, (error, out, errors) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), out, errors }),
    );
  });
}

describe('npm start', () => {
  it('runs a local decoder in both engines and prints the table', async () => {
    const prompt = PROMPTS[0] as string;
    const { code, out, errors } = await start('--model', folder, '--prompt', prompt, '--tokens', '6');
    expect(errors).toBe('');
    expect(code).toBe(0);
    expect(out.replaceAll(/\s+/g, ' ')).toContain(` onnxruntime-web ${prompt} `);
    expect(out).toMatch(/^ +onnxruntime-web +MSD +gain$/m);
    expect(out).toMatch(/^identical tokens +6 of 6 +6 of 6$/m);
    expect(out).toMatch(/^foreign runs per token +– +0$/m);
    expect(out.replaceAll(/\s+/g, ' ')).toMatch(
      /MSD runs all \d+ nodes \(gemm_\w+(?:, gemm_\w+)*\): onnxruntime-web is not started\./,
    );
    expect(out).toMatch(/\(gemm_i(16|8u?x2)_int4_/); // the CPU decides
    // Two components are worth 16 bits; whatever the weights, the logits keep at least 10 of them.
    expect(Number(/^SQNR of the logits, dB +equal +(\S+)$/m.exec(out)?.[1])).toBeGreaterThan(60);
  });

  it.each<[string, string[], RegExp]>([
    ['a missing folder', ['--model', join(folder, 'nothing')], /does not exist/],
    ['too many tokens', ['--model', folder, '--tokens', '1000'], /exceed the model's context of 256/],
    ['too few tokens', ['--tokens', '1'], /--tokens: expected an integer of at least 2, got 1/],
    ['an unknown option', ['--modle', folder], /Unknown option '--modle'/],
    ['a file that is no model', ['--model', corrupt], /model_q4\.onnx: onnxruntime-web could not load it/],
  ])('answers %s with one sentence', async (_, args, message) => {
    const { code, out, errors } = await start(...args);
    expect(code).toBe(1);
    expect(out.split('\n').length).toBeLessThan(4);
    expect(errors).toMatch(message);
    expect(errors).not.toMatch(/\n {4}at /);
  });

  it('explains itself', async () => {
    const { code, out } = await start('--help');
    expect(code).toBe(0);
    expect(out).toMatch(/--prompt TEXT/);
  });
});
