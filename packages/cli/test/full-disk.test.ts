/** A disk that is full before or while a command writes: one sentence, and nothing left behind. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { storyFolder, temporaryFolder } from './folders.ts';
import { canMount, msdOnDisk } from './full-disk.ts';
import { bytesOf, gaussian, nBitsModel, productModel, quantizeWeights, tokenModel } from './models.ts';
import { msd } from './msd.ts';

const folder = temporaryFolder();
afterAll(() => folder.remove());
const at = (name: string): string => join(folder.path, name);
const disk = at('disk');
mkdirSync(disk);

function put(name: string, bytes: Uint8Array): string {
  writeFileSync(at(name), bytes);
  return at(name);
}

/** A product whose weights have so few bits. */
function putQuantized(name: string, size: number, format: 'int2' | 'int4'): string {
  const weights = quantizeWeights(gaussian(size * size, 1), { N: size, K: size, format, blockSize: 32 });
  return put(name, bytesOf(nBitsModel(weights, 17)));
}

const FILES: readonly (readonly [string, readonly string[]])[] = [
  ['one file', []],
  ['a file beside the model', ['--external-data']],
];
const NO_SPACE =
  /^\S+: no space left on the disk \(ENOSPC\)\. Free some, or choose a folder on another disk with -o\.$/;
const lastLine = (text: string): string => text.trim().split('\n').at(-1)!;

describe.skipIf(!canMount)('a full disk', () => {
  it.each(FILES)('while quantize writes codes into %s', async (_, args) => {
    const path = put('large.onnx', bytesOf(productModel(2048, 1024, gaussian(2 ** 21, 2))));
    const to = ['-o', join(disk, 'new/model.onnx'), '--no-calibrate', ...args];
    const { exitCode, stderr, left } = await msdOnDisk(disk, 8000, 'during', ['quantize', path, ...to]);
    expect(lastLine(stderr)).toMatch(NO_SPACE);
    expect([exitCode, left]).toEqual([1, []]);
  });

  it('where what lies beside a quantized model has no room', async () => {
    mkdirSync(at('beside/onnx'), { recursive: true });
    put('beside/onnx/model.onnx', bytesOf(tokenModel('own')));
    put('beside/tokenizer.json', new Uint8Array(400_000));
    const args = ['quantize', at('beside'), '-o', join(disk, 'new'), '--no-calibrate'];
    const { exitCode, stderr, left } = await msdOnDisk(disk, 300, 'never', args);
    expect(lastLine(stderr)).toMatch(NO_SPACE);
    expect([exitCode, left]).toEqual([1, []]);
  });

  it('is seen before any work, where sizes are known', async () => {
    const path = put('float.onnx', bytesOf(productModel(512, 512, gaussian(2 ** 18, 2))));
    for (const args of [
      ['quantize', path],
      ['rewrite', putQuantized('q.onnx', 512, 'int4')],
    ]) {
      const { exitCode, stderr, left } = await msdOnDisk(disk, 100, 'never', [...args, '-o', join(disk, 'q.onnx')]);
      expect(lastLine(stderr)).toMatch(/: [\d.]+ kB are needed and [\d.]+ kB are free\. Free some, or choose a folder/);
      expect([exitCode, left]).toEqual([1, []]);
    }
  });

  it.each(FILES)('while rewrite writes %s', async (_, args) => {
    const path = putQuantized('two-bits.onnx', 1024, 'int2');
    // Codes of 2 bits become bytes, which are more than twice the file.
    const to = ['-o', join(disk, 'new/model.onnx'), '--no-check', ...args];
    const { exitCode, stderr, left } = await msdOnDisk(disk, 1000, 'never', ['rewrite', path, ...to]);
    expect(lastLine(stderr)).toMatch(NO_SPACE);
    expect([exitCode, left]).toEqual([1, []]);
  });

  it('has no room for what inspect keeps: it goes without', async () => {
    const env = { MSD_CACHE: join(disk, 'cache') };
    const args = ['inspect', putQuantized('q.onnx', 64, 'int4'), '--no-measure'];
    const { exitCode, stdout, left } = await msdOnDisk(disk, 4, 'before', args, { env });
    expect(stdout).toContain('MatMulNBits');
    expect([exitCode, left]).toEqual([0, []]);
  });
});

describe.skipIf(process.platform !== 'linux')('output that goes to a full disk', () => {
  const full = ['sh', '-c', 'exec "$@" > /dev/full', 'sh'];
  const SAID = 'The output cannot be written: no space left on the disk (ENOSPC). Free some, or let it go elsewhere.\n';

  it.each([
    ['text', []],
    ['JSON', ['--json']],
  ])('is said: %s of inspect', async (_, args) => {
    const path = putQuantized('q.onnx', 64, 'int4');
    const { exitCode, stderr } = await msd(['inspect', path, '--no-measure', ...args], { inside: full });
    expect(stderr.endsWith(SAID)).toBe(true);
    expect(exitCode).toBe(1);
  });

  it('ends run in the middle of its text', async () => {
    const args = ['run', storyFolder(at('story')), '--prompt', 'Once', '--tokens', '4', '--threads', '1'];
    const { exitCode, stderr } = await msd(args, { inside: full });
    expect(stderr.endsWith(SAID)).toBe(true);
    expect(stderr).not.toContain('    at ');
    expect(exitCode).toBe(1);
  });
});
