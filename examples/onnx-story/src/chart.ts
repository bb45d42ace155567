/** The speed of both sides, token by token. */
import type { Side } from './protocol.ts';
import { rateCurve } from './rates.ts';

/** Drawing takes the main thread; the workers should not notice. */
const FRAME_MS = 250;

let plot: Promise<typeof import('@observablehq/plot')> | undefined;
let scheduled: ReturnType<typeof setTimeout> | undefined;

/** Draws soon: at most four times a second. */
export function drawSoon(into: HTMLElement, times: Readonly<Record<Side, readonly number[]>>): void {
  if (scheduled !== undefined) return;
  scheduled = setTimeout(() => {
    scheduled = undefined;
    void draw(into, times);
  }, FRAME_MS);
}

async function draw(into: HTMLElement, times: Readonly<Record<Side, readonly number[]>>): Promise<void> {
  plot ??= import('@observablehq/plot');
  const Plot = await plot;
  const marks = (['stock', 'msd'] as const).map((side) =>
    Plot.lineY(rateCurve(times[side]), { x: 'token', y: 'rate', stroke: `var(--${side})`, strokeWidth: 2 }),
  );
  const chart = Plot.plot({
    width: Math.max(280, into.clientWidth),
    height: 220,
    style: { background: 'transparent', color: 'inherit', fontSize: '12px', fontFamily: 'inherit' },
    x: { label: 'token', ticks: 6 },
    y: { label: 'tokens/s', zero: true, grid: true, ticks: 5 },
    marks: [Plot.ruleY([0], { strokeOpacity: 0.4 }), ...marks],
  });
  chart.setAttribute('aria-hidden', 'true'); // the figure has its words beside it
  into.replaceChildren(chart);
}
