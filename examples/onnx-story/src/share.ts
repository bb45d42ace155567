/** A result as a link: everything is in the part behind `#`, which browsers send to no server. */
import { DTYPES, type Dtype, type ModelSource, type Side } from './protocol.ts';

/** What one side cost. Milliseconds, bytes. */
export interface Figures {
  readonly rate: number;
  readonly firstMs: number;
  readonly startMs: number;
  readonly memory: number;
  readonly code: number;
}

export interface SharedResult {
  readonly kind: ModelSource['kind'];
  /** Of the hub, or of a folder; the shipped model needs none. */
  readonly name: string;
  readonly dtype: Dtype;
  readonly threads: number;
  readonly tokens: number;
  readonly prompt: string;
  /** What both wrote, up to where they differ. */
  readonly text: string;
  /** Tokens that each side wrote, and how many of them, from the first, are the same. */
  readonly written: number;
  readonly same: number;
  readonly figures: Readonly<Record<Side, Figures>>;
  /** MSD had no part in the model. */
  readonly isLeft: boolean;
  readonly browser: string;
  /** 2026-11-29 */
  readonly date: string;
}

const PREFIX = '#result=';
/** Longer links are cut by mail programs. */
const MAX_TEXT = 1200;
/** The fewest and the most that the page's field takes. */
const TOKENS = [2, 4000] as const;
const DAMAGED =
  'The link to a result is damaged: it was probably cut. Ask for it again, or press Write for a result of your own.';

export function shareHash(result: SharedResult): string {
  const text = result.text.length > MAX_TEXT ? `${result.text.slice(0, MAX_TEXT)}…` : result.text;
  const bytes = new TextEncoder().encode(JSON.stringify({ ...result, text }));
  const base64 = btoa(String.fromCharCode(...bytes));
  return PREFIX + base64.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/**
 * @returns `undefined` when the hash is of something else
 * @throws Error when the link is damaged: what comes from a link is checked field by field.
 */
export function readShareHash(hash: string): SharedResult | undefined {
  if (!hash.startsWith(PREFIX)) return undefined;
  let given: unknown;
  try {
    const base64 = hash.slice(PREFIX.length).replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
    given = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new Error(DAMAGED);
  }
  const of = fields(given);
  const figures = fields(of.value('figures'));
  const side = (name: Side): Figures => {
    const own = fields(figures.value(name));
    const [rate, firstMs, startMs, memory, code] = (['rate', 'firstMs', 'startMs', 'memory', 'code'] as const).map(
      own.number,
    );
    return { rate: rate!, firstMs: firstMs!, startMs: startMs!, memory: memory!, code: code! };
  };
  return {
    kind: of.oneOf('kind', ['shipped', 'hub', 'folder']),
    name: of.text('name'),
    dtype: of.oneOf('dtype', DTYPES),
    threads: of.count('threads', 1, 64),
    tokens: of.count('tokens', ...TOKENS),
    prompt: of.text('prompt'),
    text: of.text('text'),
    written: of.number('written'),
    same: of.number('same'),
    figures: { stock: side('stock'), msd: side('msd') },
    isLeft: of.flag('isLeft'),
    browser: of.text('browser'),
    date: of.text('date'),
  };
}

/** Readers of an object's fields that refuse everything else. */
function fields(given: unknown) {
  const value = (key: string): unknown => {
    if (typeof given !== 'object' || given === null || !Object.hasOwn(given, key)) throw new Error(DAMAGED);
    return (given as Record<string, unknown>)[key];
  };
  return {
    value,
    text(key: string): string {
      const own = value(key);
      if (typeof own !== 'string') throw new Error(DAMAGED);
      return own;
    },
    number(key: string): number {
      const own = value(key);
      if (typeof own !== 'number' || !Number.isFinite(own) || own < 0) throw new Error(DAMAGED);
      return own;
    },
    count(key: string, least: number, most: number): number {
      const own = value(key);
      if (!Number.isInteger(own) || (own as number) < least || (own as number) > most) throw new Error(DAMAGED);
      return own as number;
    },
    flag(key: string): boolean {
      const own = value(key);
      if (typeof own !== 'boolean') throw new Error(DAMAGED);
      return own;
    },
    oneOf<const T extends string>(key: string, values: readonly T[]): T {
      const found = values.find((one) => one === value(key));
      if (found === undefined) throw new Error(DAMAGED);
      return found;
    },
  };
}

/** "Chromium 156, 8 cores": what a reader of a figure has to know of the machine. */
export function describeBrowser(agent: string, cores: number): string {
  const name =
    /(Firefox|Edg|OPR)\/\d+/.exec(agent)?.[0] ??
    /(HeadlessChrome|Chrome)\/\d+/.exec(agent)?.[0] ??
    /Version\/\d+.*Safari/.exec(agent)?.[0];
  const browser = (name ?? 'unknown browser')
    .replace(/^Version\/(\d+).*/, 'Safari $1')
    .replace('/', ' ')
    .replace('Edg ', 'Edge ');
  return `${browser}, ${cores} ${cores === 1 ? 'core' : 'cores'}`;
}
