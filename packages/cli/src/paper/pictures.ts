/**
 * The pictures of docs/paper.md, by Observable Plot in linkedom: SVG text that shows in light and in dark pages. Loaded only when
 * pictures are asked for.
 */
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import type { PaperReport } from './report.ts';
import { mxfp4Passes } from './rounding.ts';
import type { Summary } from './summary.ts';

/** Bright enough for a dark page, dark enough for a light one. */
const COLOURS = ['#d9822b', '#3f7fd9', '#2c9f6b', '#b15fc9', '#c94f5b', '#8a8f98'];
const WIDTH = 760;
/** In place of Plot's own style: a picture in an <img> does not see the colours around it. */
const STYLE =
  'svg{color:#24292f;max-width:100%;height:auto}@media(prefers-color-scheme:dark){svg{color:#d7dde4}}text,tspan{white-space:pre}';

type Options = Plot.PlotOptions;

function svg(title: string, options: Options): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const plot = Plot.plot({ document, width: WIDTH, marginRight: 180, ...options });
  plot.querySelector('style')!.textContent = STYLE;
  const name = document.createElement('title');
  name.textContent = title;
  plot.insertBefore(name, plot.firstChild);
  plot.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  plot.setAttribute('role', 'img');
  return `${plot.outerHTML.replace(/\d+\.\d{3,}/g, (number) => String(Number(Number(number).toFixed(2))))}\n`;
}

/** Series of a picture in their order, with names for people. */
type Names = Readonly<Record<string, string>>;

interface Point {
  readonly x: number;
  readonly y: number;
  readonly name: string;
  readonly panel?: string;
}

const colours = (names: Names): Options['color'] => ({ domain: Object.values(names), range: COLOURS });
const lengthText = (value: number): string => (value >= 1024 ? `${value / 1024}k` : String(value));

/** A legend beside a plot, in the order of its series. */
function legend(names: readonly string[], head: string | undefined, panel?: string): Plot.Markish[] {
  const entries = [
    ...(head ? [{ name: head, fill: 'currentColor' }] : []),
    ...names.map((name, i) => ({ name: `● ${name}`, fill: COLOURS[i]! })),
  ];
  return entries.map(({ name, fill }, i) =>
    Plot.text([name], {
      ...{ text: [name], fill, ...(panel !== undefined && { fy: [panel] }) },
      ...{ frameAnchor: 'top-right', textAnchor: 'start', dx: 14, dy: 4 + 16 * i, fontSize: 11 },
    }),
  );
}

interface Lines {
  readonly title: string;
  readonly points: readonly Point[];
  readonly names: Names;
  readonly x: string;
  /** Of the y axis: what is shown, and its scale. */
  readonly shows: string;
  readonly y: Plot.ScaleOptions;
  readonly marks?: readonly Plot.Markish[];
}

/** Lines over sizes that double, one panel below the other. */
function lines({ title, points, names, x, shows, y, marks = [] }: Lines): string {
  const panels = [...new Set(points.flatMap(({ panel }) => panel ?? []))];
  const isSplit = panels.length > 0;
  const sizes = [...new Set(points.map((point) => point.x))];
  const mark = { x: 'x', y: 'y', stroke: 'name', ...(isSplit && { fy: 'panel' }) };
  return svg(title, {
    height: 90 + 210 * Math.max(1, panels.length),
    ...{ marginTop: 36, color: colours(names) },
    ...(isSplit && { fy: { axis: null, domain: panels, padding: 0.18 } }),
    x: { label: x, type: 'log', base: 2, ticks: sizes, tickFormat: lengthText },
    y: { label: isSplit ? null : `↑ ${shows}`, ...y },
    marks: [
      ...marks,
      Plot.line(points, { ...mark, strokeWidth: 2 }),
      Plot.dot(points, { ...mark, fill: 'name', r: 2.5 }),
      ...legend(Object.values(names), isSplit ? shows : undefined, panels[0]),
      ...panels.map((panel) =>
        Plot.text([panel], {
          ...{ fy: [panel], text: [panel] },
          ...{ frameAnchor: 'top-left', dy: -14, fontWeight: 'bold', fontSize: 12 },
        }),
      ),
    ],
  });
}

function pointsOf(
  summaries: readonly Summary[],
  experiment: Summary['experiment'],
  names: Names,
  panels: Names,
): Point[] {
  return summaries
    .filter((each) => each.experiment === experiment && each.variant in names && each.distribution in panels)
    .map(({ variant, distribution, size, value }) => ({
      ...{ x: size, y: value, name: names[variant]!, panel: panels[distribution]! },
    }));
}

const DECADES = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1];
/** Of errors: a decade is a tick. */
const errorAxis = (points: readonly Point[]): Plot.ScaleOptions => {
  const most = Math.max(...points.map(({ y }) => y));
  const least = Math.min(...points.map(({ y }) => y));
  const ticks = DECADES.filter((value) => value > least / 10 && value < most * 10);
  return { type: 'log', domain: [ticks[0]!, ticks.at(-1)!], ticks, grid: true, tickFormat: '.0e' };
};

/** Relative errors over lengths, a panel per distribution. */
function errors(title: string, x: string, points: readonly Point[], names: Names): string {
  return lines({ title, points, names, x, shows: 'relative error (L2):', y: errorAxis(points) });
}

/** What is left of a number after one pass and after two. */
function passes(): string {
  const names = { 1: 'after one pass', 2: 'after two passes' };
  const points = Array.from({ length: 1025 }, (_, i) => i / 512 - 1).flatMap((x) =>
    [1, 2].map((count): Point => {
      // The other element makes alpha 1 for every x.
      const [rounded] = mxfp4Passes([x, 1], count);
      return { x, y: x - rounded!, name: names[count as 1 | 2] };
    }),
  );
  return svg('What MXFP4 passes leave of a number', {
    height: 260,
    color: colours(names),
    x: { label: 'x, alpha = 1 →' },
    y: {
      label: '↑ what is left',
      grid: true,
      ticks: [-1 / 8, -1 / 64, 1 / 64, 1 / 8],
      tickFormat: (y: number) => `${y < 0 ? '−' : ''}1/${Math.round(1 / Math.abs(y))}`,
    },
    marks: [
      Plot.line(points, { x: 'x', y: 'y', stroke: 'name', strokeWidth: 1.5 }),
      ...legend(Object.values(names), undefined),
    ],
  });
}

/** Bits of formats and passes, for two kinds of numbers. */
function bits({ summaries }: PaperReport): string {
  const names: Names = { uniform: 'evenly spread', gaussian: 'Gaussian', laplace: 'longer tails' };
  const variants: Names = {
    'int8 x1, 256': 'INT8, one pass',
    'int8 x2, 256': 'INT8, two passes',
    'int8 x3, 256': 'INT8, three passes',
    'mxfp4 x1': 'MXFP4, one pass',
    'mxfp4 x2': 'MXFP4, two passes',
    'mxfp8, ceil': 'MXFP8, one pass',
    bf16: 'BF16',
    fp16: 'FP16',
  };
  const points = summaries
    .filter((each) => each.experiment === 'bits' && each.variant in variants && each.distribution in names)
    .map(({ variant, distribution, value }) => ({ variant: variants[variant]!, value, name: names[distribution]! }));
  const gaussian = points.filter(({ name }) => name === names.gaussian);
  return svg('Effective bits of formats and passes', {
    height: 280,
    marginLeft: 120,
    marginRight: 110,
    color: colours(names),
    x: { label: 'effective bits (signal to noise ÷ 6.02 dB) →', grid: true, domain: [0, 25] },
    y: { label: null, domain: Object.values(variants) },
    marks: [
      Plot.dot(points, { x: 'value', y: 'variant', fill: 'name', r: 5 }),
      Plot.text(gaussian, { x: 'value', y: 'variant', text: ({ value }) => value.toFixed(1), dy: -11 }),
      ...legend(Object.values(names), undefined),
    ],
  });
}

const DISTRIBUTIONS: Names = {
  gaussian: 'Gaussian activations',
  '3 channels 30x': 'three channels 30 times as large',
  'one of 100 sigma': 'one element of 100 σ in every row',
};

function products({ summaries }: PaperReport): string {
  const names: Names = {
    'mxfp4 weights: mxfp8': 'MXFP8 (MXFP4 weights)',
    'mxfp4 weights: mxfp4 x2': 'two MXFP4 passes (too)',
    'int8 x1, 256': 'one INT8 pass',
    bf16: 'weights through BF16',
    'int8 x2, 256': 'two INT8 passes',
    'int8 x3, 256': 'three INT8 passes',
  };
  return errors('Products: error against K', 'K →', pointsOf(summaries, 'matmul', names, DISTRIBUTIONS), names);
}

function blocks({ summaries }: PaperReport): string {
  const names: Names = {
    'int8 x2, row': 'one scale per row',
    'int8 x2, 256': 'per 256',
    'int8 x2, 32': 'per 32',
    bf16: 'weights through BF16',
  };
  const points = pointsOf(summaries, 'matmul', names, DISTRIBUTIONS);
  return errors('Two INT8 passes: numbers that share a scale', 'K →', points, names);
}

function attention({ summaries }: PaperReport): string {
  const names: Names = {
    'int8 x1, pages': 'one pass',
    bf16: 'all through BF16',
    'int8 x2, row': 'P: one scale per query',
    'int8 x2, 64': 'P: per 64 keys',
    'int8 x2, pages': 'the same, key 0 apart',
  };
  const panels: Names = {
    std1: 'scores of standard deviation 1',
    kout: 'keys with channels of 30, 20, 10 σ',
    'sink .05x': 'nine tenths of the weight on key 0',
  };
  const points = pointsOf(summaries, 'attention', names, panels);
  return errors('Attention: error against the number of keys', 'T, keys →', points, names);
}

function traffic({ models }: PaperReport): string {
  const names: Names = {
    shared: 'MSD.js, or fused',
    float: 'BF16 cache',
    passes: 'two passes',
  };
  const points = models.traffic
    .filter(({ kernel }) => kernel in names)
    .map(({ kernel, rows, gain }): Point => ({ x: rows, y: gain, name: names[kernel]! }));
  return lines({
    ...{ title: 'Bytes of keys and values, against a kernel that writes dequantized ones back', points, names },
    ...{ x: 'queries →', shows: 'times fewer bytes than writing back', y: { grid: true, domain: [0, 5.2] } },
    marks: [ONE],
  });
}

const ONE = Plot.ruleY([1], { stroke: 'currentColor', strokeDasharray: '3 3' });

function latency({ models }: PaperReport): string {
  const names: Names = Object.fromEntries(
    models.latency.map(({ machine }) => [machine, /A100|H100|B200|Ascend \w+/.exec(machine)?.[0] ?? machine]),
  );
  const points = models.latency.map(({ machine, M, gain }): Point => ({ x: M, y: gain, name: names[machine]! }));
  return lines({
    ...{ title: 'How many times as fast two passes are as dequantizing first, by the model', points, names },
    ...{ x: 'M, rows →', shows: 'times as fast as dequantizing first', y: { grid: true, domain: [0, 5.5] } },
    marks: [ONE],
  });
}

/** SVG text by file name. */
export function picturesOf(report: PaperReport): Readonly<Record<string, string>> {
  return {
    'passes.svg': passes(),
    'bits.svg': bits(report),
    'products.svg': products(report),
    'blocks.svg': blocks(report),
    'attention.svg': attention(report),
    'traffic.svg': traffic(report),
    'latency.svg': latency(report),
  };
}
