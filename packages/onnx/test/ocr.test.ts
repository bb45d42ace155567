/** A trained model with convolutions: PP-OCRv4 reads the same lines in MSD, whatever form its file has. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { MsdOptions } from '../src/execute/options.ts';
import { reportOf } from '../src/register.ts';
import { dequantized, line, nBits, recogniser, textOf } from './ocr.ts';
import { session } from './ort.ts';

const LINES = [
  ['Hello world 2024', 'DejaVuSans'],
  ['The quick brown fox', 'DejaVuSerif'],
  ['https://example.org/a?b=1', 'DejaVuSans'],
  ['Total: 1,234.56 EUR', 'DejaVuSans-Bold'],
  ['invoice no. 00817', 'DejaVuSerif-Bold'],
] as const;

async function read(model: Uint8Array, options: MsdOptions | undefined) {
  const s = await session(model, options ? { name: 'msd', ...options } : 'wasm');
  const texts: string[] = [];
  for (const [i, [text, font]] of LINES.entries()) {
    const results = await s.run({ [s.inputNames[0]!]: line(text, font, i % 3 === 1) });
    texts.push(textOf(results[s.outputNames[0]!]!));
  }
  const report = reportOf(s);
  await s.release();
  return { texts, report };
}

describe('PP-OCRv4', { timeout: 120_000 }, () => {
  it.each<[string, () => Uint8Array, MsdOptions]>([
    ['float weights that are quantized at load', () => readFileSync(recogniser), { quantize: 'int8' }],
    ['int8 weights behind DequantizeLinear', dequantized, {}],
    ['MatMulNBits', nBits, {}],
  ])('%s', async (_, file, options) => {
    const model = file();
    const own = await read(model, options);
    const plain = await read(model, undefined);
    expect(plain.texts[0]).toBe('Helloworld2024');
    expect(own.texts).toEqual(plain.texts);
    expect(own.report!.foreignRunsPerCall).toBe(0);
    // What ONNX Runtime takes for the file alone.
    expect(own.report!.memory.wasmBytes).toBeLessThan(48e6);
  });

  it("as it is stays ONNX Runtime's", async () => {
    const s = await session(readFileSync(recogniser), 'msd');
    expect(reportOf(s)!.whole).toBeDefined();
    await s.release();
  });
});
