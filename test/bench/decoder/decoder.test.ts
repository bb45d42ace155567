import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DECODERS, type Embedding, macsPerToken, scaled } from '../models/decoder.ts';
import { type Packaging, writeDecoder } from '../models/decoder-files.ts';
import { decibels } from '../samples.ts';
import { measureDecoders } from './index.ts';
import { decoderOptions } from './options.ts';
import { Reader, randomCache, tokens } from './reader.ts';
import { rate, timeRatio } from './report.ts';
import { createSession, openSide, readFiles } from './sides.ts';

const folder = mkdtempSync(join(tmpdir(), 'msd-decoder-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

const of = (name: string) => DECODERS.find((shape) => shape.name === name)!;
const tiny = scaled(of('small'), { layers: 2, scale: 0.5 });
const write = (embedding: Embedding, packaging: Packaging) =>
  writeDecoder({ folder: join(folder, `${embedding}-${packaging}`), shape: tiny, embedding, packaging });

describe('seeded decoders', () => {
  it('have the multiplications of the models they stand for', () => {
    expect(Math.round(macsPerToken(of('qwen2.5-0.5b')) / 1e6)).toBe(494);
    expect(Math.round(macsPerToken(of('smollm2-360m')) / 1e6)).toBe(362);
  });

  it('scale in width and depth', () => {
    expect(scaled(of('smollm2-360m'), { layers: 3, scale: 0.3 })).toMatchObject({
      layers: 3,
      heads: 5,
      kvHeads: 5,
      headDim: 64,
      hiddenSize: 320,
      mlpSize: 768,
      vocabSize: 14752,
    });
  });

  it.each<[Embedding]>([['float'], ['int4']])(
    'with a %s embedding are the same in one file, in two and in parts, from a path and from bytes, on every side',
    async (embedding) => {
      const logits: Float32Array[] = [];
      for (const packaging of ['single', 'external', 'parts'] as const) {
        const files = write(embedding, packaging);
        expect(readdirSync(files.request.folder)).toEqual(expect.arrayContaining([...files.files]));
        for (const id of ['ort', 'msd'] as const)
          for (const bytes of [undefined, readFiles(files)]) {
            const side = await openSide(id, { threads: 1 });
            const session = await createSession(side, files, bytes);
            const reader = Reader.from(side, session, tiny, randomCache(tiny, 5));
            await reader.read(tokens(3, tiny.vocabSize));
            logits.push((await reader.read([7])).slice());
            await session.release();
          }
      }
      const [ort, , msd] = logits as [Float32Array, Float32Array, Float32Array];
      expect(ort.length).toBe(tiny.vocabSize);
      expect(decibels(ort, msd)).toBeGreaterThan(60);
      expect(logits).toEqual([1, 2, 3].flatMap(() => [ort, ort, msd, msd]));
    },
  );

  it('note where their matrices lie', () => {
    const found = (['single', 'external'] as const).map((packaging) => {
      const { matrices, request } = write('float', packaging);
      expect(matrices).toHaveLength(7 * tiny.layers + 1);
      return matrices.map(({ N, K, data, scales }) => {
        expect([data.length, scales.length]).toEqual([(N * K) / 2, (N * K) / 8]);
        return [data, scales].map(({ file, offset, length }) =>
          readFileSync(join(request.folder, file)).subarray(offset, offset + length),
        );
      });
    });
    expect(found[0]!.flat().every((bytes, i) => bytes.equals(found[1]!.flat()[i]!))).toBe(true);
  });
});

describe('npm run bench -- decoder', () => {
  it('reads its options', () => {
    const options = decoderOptions({ out: 'there' });
    expect(options).toMatchObject({ embedding: 'float', sides: ['ort', 'msd', 'products'], threads: 1 });
    expect(options).toMatchObject({ pasts: [0, 128, 1024, 4096], prompts: [128, 512] });
    expect(options.shapes.map(({ layers }) => layers)).toEqual([24, 32]);
    expect(decoderOptions({ out: '', msd: 'old', layers: '2' })).toMatchObject({
      sides: ['ort', 'msd', 'before', 'products'],
      shapes: [{ layers: 2 }, { layers: 2 }],
    });
    expect(() => decoderOptions({ out: '', models: 'gpt' })).toThrow('--models expected some of qwen2.5-0.5b, smollm2');
    expect(() => decoderOptions({ out: '', embedding: 'int3' })).toThrow('--embedding expected one of float, int4');
    expect(() => decoderOptions({ out: '', scale: '0' })).toThrow('--scale expected a number above 0');
    expect(() => decoderOptions({ out: '', past: '8192' })).toThrow('--past expected at most 8128');
    expect(() => decoderOptions({ out: '', prompt: '-1' })).toThrow('--prompt expected a whole number from 0 up');
  });

  it('measures all sides, and leaves JSON and Markdown', { timeout: 120_000 }, async () => {
    const out = join(folder, 'out');
    const flags = {
      out,
      models: 'small',
      layers: '1',
      scale: '0.5',
      past: '0,9',
      prompt: '4',
      rounds: '2',
      loads: '1',
    };
    const [result] = await measureDecoders({ ...decoderOptions(flags), log: () => {} });
    expect(result!.phases.map(({ rows, past }) => [rows, past])).toEqual([
      [1, 0],
      [1, 9],
      [4, 0],
    ]);
    for (const phase of result!.phases) {
      expect(phase.decibels.msd).toBeGreaterThan(60);
      expect(rate(phase, 'msd')).toBeCloseTo((1000 * phase.rows) / phase.ms.msd!.median, 10);
      expect(timeRatio(phase, 'msd', 'products')).toBeGreaterThan(0.5);
      expect(timeRatio(phase, 'msd', 'products', 'cpu')).toBeGreaterThan(0);
    }
    expect(result!.reports.msd!.foreignRunsPerCall).toBeGreaterThanOrEqual(0);
    expect(result!.loads.map(({ by, from }) => `${by} ${from}`)).toEqual([
      ...['ort path', 'msd path', 'pack path'],
      ...['ort bytes', 'msd bytes', 'pack bytes'],
    ]);
    for (const { by, claimedBytes } of result!.loads) if (by !== 'ort') expect(claimedBytes).toBeGreaterThan(0);
    const names = readdirSync(out).sort();
    expect(names).toEqual([`decoder-small-L1-H128-float-1t.json`, 'decoder.md']);
    expect(readFileSync(join(out, 'decoder.md'), 'utf8')).toMatch(
      /small, 1 layers of 128[\s\S]*\| prompt of 4 \|[\s\S]*products alone \| MSD/,
    );
  });
});
