/** A trained model with convolutions: PP-OCRv4 reads the same lines in MSD, whatever form its file has. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { MsdOptions } from '../src/execute/options.ts';
import { reportOf } from '../src/register.ts';
import { dequantized, dynamic, dynamicFloats, line, nBits, recogniser, textOf } from './ocr.ts';
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
  const scores: Float32Array[] = [];
  for (const [i, [text, font]] of LINES.entries()) {
    const results = await s.run({ [s.inputNames[0]!]: line(text, font, i % 3 === 1) });
    const result = results[s.outputNames[0]!]!;
    texts.push(textOf(result));
    scores.push(result.data as Float32Array);
  }
  const report = reportOf(s);
  await s.release();
  return { texts, scores, report };
}

function relativeL2(a: Float32Array, b: Float32Array): number {
  const power = (values: Float32Array): number => values.reduce((sum, value) => sum + value ** 2, 0);
  return Math.sqrt(power(a.map((value, i) => value - b[i]!)) / power(b));
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

  it('dynamic uint8 reads what the floats of its weights read, and gives their scores', async () => {
    const own = await read(dynamic(), {});
    const reference = await read(dynamicFloats(), undefined);
    expect(own.texts).toEqual(reference.texts);
    expect(own.report!.foreignRunsPerCall).toBe(0);
    for (const [i, scores] of own.scores.entries()) {
      // Two components of the activations are all that is rounded; ONNX Runtime's 8 bits are 7 % to 34 % off.
      expect(relativeL2(scores, reference.scores[i]!)).toBeLessThan(5e-4);
    }
  });

  it("as it is stays ONNX Runtime's", async () => {
    const s = await session(readFileSync(recogniser), 'msd');
    expect(reportOf(s)!.whole).toBeDefined();
    await s.release();
  });
});
