/** The tables of docs/theory.md are what @msd/core/theory gives. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  accelerators,
  attentionKernels,
  bitsOfBound,
  bytesPerElement,
  dequantizeFirst,
  floatBits,
  gaussianSqnr,
  int8Bound,
  mxfp4Bits,
  mxfp4Bound,
  severalPasses,
} from '@msd/core/theory';
import { expect, it } from 'vitest';

const page = readFileSync(fileURLToPath(new URL('../../docs/theory.md', import.meta.url)), 'utf8');

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [row(head), row(head.map((_, i) => (i ? '---:' : '---'))), ...rows.map(row)].join('\n');
const three = (value: number): string => `${Number(value.toPrecision(3))}`;

it('passes: bounds and bits', () => {
  expect(page).toContain(
    table(
      ['P', 'INT8: bound ÷ max', 'log2', 'Gaussian, per 256', 'per row of 4096', 'MXFP4: bound ÷ alpha', 'bits'],
      [1, 2, 3].map((passes) => [
        `${passes}`,
        `1 / ${Math.round(1 / int8Bound(1, passes))}`,
        bitsOfBound(1, int8Bound(1, passes)).toFixed(2),
        `${gaussianSqnr(256, passes).toFixed(1)} dB`,
        `${gaussianSqnr(4096, passes).toFixed(1)} dB`,
        `1 / ${1 / mxfp4Bound(1, passes)}`,
        mxfp4Bits(passes).toFixed(2),
      ]),
    ),
  );
  expect(page).toContain(
    `MXFP8 (E4M3) ${floatBits(3).toFixed(2)}, BF16 ${floatBits(7).toFixed(2)}, FP16 ${floatBits(10).toFixed(2)}`,
  );
});

it('a product: dequantized first, and in two passes', () => {
  const rows = accelerators.flatMap((machine) =>
    [1, 128, 4096].map((M) => {
      const shape = { M, N: 4096, K: 4096 };
      const weights = { bytes: 1, unit: 'int8' } as const;
      const first = dequantizeFirst(machine, shape, weights);
      const passes = severalPasses(machine, shape, weights, 2);
      const text = ({ seconds, limit }: typeof first) => `${three(1e6 * seconds)} (${limit})`;
      return [machine.name, machine.units, `${M}`, text(first), text(passes), three(first.seconds / passes.seconds)];
    }),
  );
  expect(page).toContain(
    table(['4096 × 4096, INT8 weights', 'units', 'M', 'dequantized first, µs', 'two passes, µs', 'gain'], rows),
  );
});

it('attention: bytes of an element of keys and values', () => {
  const rows = attentionKernels.map((kernel) => [
    `\`${kernel}\``,
    ...[128, 64].map((headSize) => three(bytesPerElement(kernel, headSize, { scaleBytes: 4 }))),
    three(bytesPerElement(kernel, 128)),
  ]);
  expect(page).toContain(table(['', 'd = 128, a scale per row', 'd = 64', 'without scales'], rows));
});
