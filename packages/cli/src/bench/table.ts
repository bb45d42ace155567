/** Layers of both engines, as text. */
import { ENGINE_NAMES } from '../run/session.ts';
import { threeDigits } from '../shared/numbers.ts';
import { type Column, formatTable } from '../shared/table.ts';
import type { LayerResult, LayerTiming } from './layers.ts';

export const percent = (share: number): string => `± ${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
export const times = (ratio: number): string => `${threeDigits(ratio)}×`;

/** Layer shapes, both engines. */
export function layerTable(results: readonly LayerResult[]): string {
  const right = (header: string): Column => ({ header, align: 'right' });
  const timing = (t: LayerTiming): string[] => [
    `${threeDigits(t.ms)} ${percent(t.spread).padStart(7)}`,
    threeDigits(t.gmacs),
  ];
  return formatTable(
    [
      { header: 'layer', align: 'left' },
      right('K×N'),
      right('M'),
      right(`${ENGINE_NAMES.ort}, ms`),
      right('GMAC/s'),
      right(`${ENGINE_NAMES.msd}, ms`),
      right('GMAC/s'),
      right('of limit'),
      right('gain'),
    ],
    results.map(({ name, K, N, M, ort, msd, ratio, shareOfLimit }) => [
      name,
      `${K}×${N}`,
      String(M),
      ...timing(ort),
      ...timing(msd),
      `${(100 * shareOfLimit).toFixed(0)} %`,
      times(ratio),
    ]),
  );
}
