/** Three plots, as SVG text: bars per shape, two engines side by side, and a roofline. */
import type { EngineId } from './engines/engine.ts';

const COLOURS: Record<EngineId, string> = {
  msd: '#1f5fbf',
  ort: '#b35900',
  litert: '#3c7a3c',
  tfjs: '#8a6d1b',
  llama: '#7a4a8a',
};
const INK = '#222';
const FAINT = '#ddd';
const ENGINE_NAMES: Record<EngineId, string> = {
  msd: 'MSD',
  ort: 'onnxruntime-web',
  litert: 'LiteRT.js',
  tfjs: 'tfjs',
  llama: 'llama.cpp',
};

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

interface TextOptions {
  readonly anchor?: 'start' | 'middle' | 'end';
  readonly size?: number;
  readonly weight?: 'bold';
  readonly colour?: string;
}

const n = (value: number): string => String(Number(value.toFixed(1)));

function text(x: number, y: number, content: string, options: TextOptions = {}): string {
  const { anchor = 'start', size = 11, weight, colour = INK } = options;
  const bold = weight ? ` font-weight="${weight}"` : '';
  return `<text x="${n(x)}" y="${n(y)}" font-size="${size}" text-anchor="${anchor}" fill="${colour}"${bold}>${escapeXml(content)}</text>`;
}

const line = (x1: number, y1: number, x2: number, y2: number, stroke: string, dash = ''): string =>
  `<line x1="${n(x1)}" y1="${n(y1)}" x2="${n(x2)}" y2="${n(y2)}" stroke="${stroke}"${dash && ` stroke-dasharray="${dash}"`}/>`;

function page(width: number, height: number, title: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}

export interface Bar {
  readonly label: string;
  readonly engine: EngineId;
  readonly value: number;
  /** Half the quartile distance, relative. */
  readonly spread: number;
}

export interface BarPanel {
  readonly title: string;
  readonly bars: readonly Bar[];
  /** Vertical lines with a name: the machine's own limits. */
  readonly limits: readonly { readonly label: string; readonly value: number }[];
}

/** One panel per shape, fastest bar first; all panels share the scale. */
export function barChart(title: string, unit: string, panels: readonly BarPanel[]): string {
  const [labelWidth, plotWidth, row, gap] = [215, 480, 17, 44];
  const width = labelWidth + plotWidth + 70;
  const most = Math.max(1, ...panels.flatMap(({ bars, limits }) => [...bars, ...limits].map(({ value }) => value)));
  const x = (value: number): number => labelWidth + (value / most) * plotWidth;
  const parts = [text(12, 22, title, { size: 14, weight: 'bold' }), text(12, 38, unit, { colour: '#555' })];
  let y = 58;
  for (const { title: heading, bars, limits } of panels) {
    parts.push(text(12, y + 10, heading, { weight: 'bold', size: 12 }));
    const top = y + 18;
    const bottom = top + row * bars.length;
    for (const { label, value } of limits) {
      parts.push(line(x(value), top - 2, x(value), bottom, '#888', '3 3'));
      parts.push(text(x(value), top - 5, `${label} ${n(value)}`, { anchor: 'end', size: 9, colour: '#666' }));
    }
    for (const [i, { label, engine, value, spread }] of bars.toSorted((a, b) => b.value - a.value).entries()) {
      const at = top + row * i;
      const middle = at + row / 2;
      parts.push(text(labelWidth - 6, at + 12, label, { anchor: 'end' }));
      parts.push(
        `<rect x="${labelWidth}" y="${n(at + 2)}" width="${n(Math.max(1, x(value) - labelWidth))}" height="${row - 4}" fill="${COLOURS[engine]}"/>`,
      );
      parts.push(line(x(value * (1 - spread)), middle, x(value * (1 + spread)), middle, INK));
      parts.push(text(x(value * (1 + spread)) + 5, at + 12, value < 10 ? value.toFixed(2) : value.toFixed(1)));
    }
    y = bottom + gap;
  }
  return page(width, y, title, parts);
}

export interface Pair {
  readonly title: string;
  readonly unit: string;
  /** What the ratio at the end says: 'as fast', 'of the memory'. */
  readonly ratio: string;
  readonly bars: readonly { readonly engine: EngineId; readonly value: number }[];
}

/** A few quantities of one model, two engines each. Every pair has a scale of its own. */
export function pairChart(title: string, subtitle: string, pairs: readonly Pair[]): string {
  const [labelWidth, plotWidth, row] = [130, 420, 22];
  const width = labelWidth + plotWidth + 170;
  const parts = [text(12, 26, title, { size: 17, weight: 'bold' }), text(12, 46, subtitle, { colour: '#555' })];
  let y = 72;
  for (const { title: heading, unit, ratio, bars } of pairs) {
    parts.push(text(12, y + 12, heading, { weight: 'bold', size: 13 }));
    const most = Math.max(...bars.map(({ value }) => value));
    for (const [i, { engine, value }] of bars.entries()) {
      const at = y + 20 + row * i;
      const long = Math.max(2, (value / most) * plotWidth);
      parts.push(text(labelWidth - 8, at + 14, ENGINE_NAMES[engine], { anchor: 'end', size: 12 }));
      parts.push(
        `<rect x="${labelWidth}" y="${at + 1}" width="${n(long)}" height="${row - 4}" rx="2" fill="${COLOURS[engine]}"/>`,
      );
      const says = `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ${unit}${engine === 'msd' ? `, ${ratio}` : ''}`;
      const bold = engine === 'msd' ? { weight: 'bold' as const } : {};
      // A long bar has its words inside, so that no picture is wider than its page.
      const inside = long > plotWidth / 2;
      parts.push(
        text(labelWidth + (inside ? 8 : long + 8), at + 14, says, {
          size: 12,
          ...(inside && { colour: '#fff' }),
          ...bold,
        }),
      );
    }
    y += 34 + row * bars.length;
  }
  return page(width, y + 4, title, parts);
}

export interface RooflinePoint {
  readonly label: string;
  readonly engine: EngineId;
  /** Multiply-accumulates per byte of weights. */
  readonly intensity: number;
  readonly gmacs: number;
}

export interface Roofs {
  /** Horizontal: GMAC/s. */
  readonly compute: readonly { readonly label: string; readonly value: number }[];
  /** Slanted: GB/s. */
  readonly read: readonly { readonly label: string; readonly value: number }[];
}

/** Log-log: what reading the weights and multiplying allow, and where everything lies below it. */
export function roofline(title: string, points: readonly RooflinePoint[], roofs: Roofs): string {
  const [width, height, left, right, top, bottom] = [760, 460, 56, 20, 60, 44];
  const xs = points.map(({ intensity }) => intensity);
  const ys = [...points.map(({ gmacs }) => gmacs), ...roofs.compute.map(({ value }) => value)];
  const bounds = (values: readonly number[]): [number, number] => [
    Math.log10(Math.min(...values)) - 0.15,
    Math.log10(Math.max(...values)) + 0.15,
  ];
  const [[x0, x1], [y0, y1]] = [bounds(xs), bounds(ys)];
  const x = (value: number) => left + ((Math.log10(value) - x0) / (x1 - x0)) * (width - left - right);
  const y = (value: number) => height - bottom - ((Math.log10(value) - y0) / (y1 - y0)) * (height - top - bottom);
  const parts = [
    text(12, 22, title, { size: 14, weight: 'bold' }),
    text(12, 38, 'GMAC/s against multiply-accumulates per byte of weights; both axes logarithmic', { colour: '#555' }),
  ];
  const ticks = (low: number, high: number): number[] =>
    Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, i) => Math.ceil(low) + i).flatMap((power) =>
      [1, 2, 5].map((digit) => digit * 10 ** power).filter((value) => Math.log10(value) <= high),
    );
  for (const value of ticks(x0, x1)) {
    parts.push(line(x(value), top, x(value), height - bottom, FAINT));
    parts.push(
      text(x(value), height - bottom + 14, String(Number(value.toPrecision(2))), { anchor: 'middle', size: 10 }),
    );
  }
  for (const value of ticks(y0, y1)) {
    parts.push(line(left, y(value), width - right, y(value), FAINT));
    parts.push(text(left - 5, y(value) + 4, String(Number(value.toPrecision(2))), { anchor: 'end', size: 10 }));
  }
  const highest = Math.max(...roofs.compute.map(({ value }) => value), 10 ** y0);
  // Roofs may lie on one another: their names stand side by side.
  for (const [i, { label, value }] of roofs.compute.entries()) {
    parts.push(line(left, y(value), width - right, y(value), INK));
    parts.push(text(left + 250 + 120 * i, y(value) - 4, `${label} ${n(value)}`, { size: 10 }));
  }
  for (const [i, { label, value }] of roofs.read.entries()) {
    // gmacs = intensity * GB/s, from the left edge (or the bottom) up to the highest roof
    const from = Math.max(10 ** x0, 10 ** y0 / value);
    const to = Math.min(10 ** x1, highest / value);
    if (to <= from) continue;
    parts.push(line(x(from), y(from * value), x(to), y(to * value), INK, '6 3'));
    parts.push(
      text(x(to) + 4, y(to * value) + 14 + 12 * i, `${label} ${n(value)} GB/s`, { anchor: 'start', size: 10 }),
    );
  }
  for (const { label, engine, intensity, gmacs } of points)
    parts.push(
      `<circle cx="${n(x(intensity))}" cy="${n(y(gmacs))}" r="4" fill="${COLOURS[engine]}" fill-opacity="0.75"><title>${escapeXml(`${label}: ${gmacs}`)}</title></circle>`,
    );
  const engines = [...new Set(points.map(({ engine }) => engine))];
  for (const [i, engine] of engines.entries()) {
    parts.push(`<circle cx="${left + 260}" cy="${height - bottom - 80 + 15 * i}" r="4" fill="${COLOURS[engine]}"/>`);
    parts.push(text(left + 270, height - bottom - 76 + 15 * i, ENGINE_NAMES[engine]));
  }
  return page(width, height, title, parts);
}
