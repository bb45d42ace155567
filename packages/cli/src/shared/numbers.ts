/** Numbers as people read them. */

/** Three significant digits, no exponent: 0.123, 1.23, 12.3, 123, 1234. */
export function threeDigits(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const digits = value === 0 ? 0 : Math.floor(Math.log10(Math.abs(value)));
  return value.toFixed(Math.min(6, Math.max(0, 2 - digits)));
}

function scaled(value: number, units: ReadonlyArray<readonly [number, string]>): string {
  const [size, name] = units.find(([least]) => Math.abs(value) >= least) ?? units.at(-1)!;
  return `${size === 1 ? String(Math.round(value)) : threeDigits(value / size)} ${name}`;
}

const BYTES = [
  [1e9, 'GB'],
  [1e6, 'MB'],
  [1e3, 'kB'],
  [1, 'bytes'],
] as const;

/** "12.3 MB"; decimal units, as file managers and networks count. */
export function bytesText(bytes: number): string {
  return scaled(bytes, BYTES);
}

const COUNTS = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
  [1, ''],
] as const;

/** "494 M", "12" */
export function countText(count: number): string {
  return scaled(count, COUNTS).trim();
}

/** "3 ms", "12 s", "2 min 5 s", "1 h 3 min" */
export function durationText(ms: number): string {
  if (ms < 1000) return `${threeDigits(ms)} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
