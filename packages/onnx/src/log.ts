/** What MSD says of itself, as loud as the module's `env.logLevel` allows. */
import type { OrtModule } from './ort.ts';

const LEVELS = ['verbose', 'info', 'warning', 'error', 'fatal'] as const;

type Level = (typeof LEVELS)[number];

/** Of modules whose level is another's: by `env`, which all namespaces of a module share. */
const listening = /* @__PURE__ */ new WeakMap<object, () => Level>();

/** From now on the module is as loud as `level` says. */
export function listenTo(ort: OrtModule, level: () => Level): void {
  listening.set(ort.env, level);
}

/** Does the module want to hear of something of this level? */
export function isLogged(ort: OrtModule, level: Level): boolean {
  const { logLevel = 'warning' } = ort.env as { readonly logLevel?: Level };
  return LEVELS.indexOf(level) >= LEVELS.indexOf(listening.get(ort.env)?.() ?? logLevel);
}

/** Says something. */
export function log(ort: OrtModule, level: 'info' | 'warning', text: string): void {
  if (!isLogged(ort, level)) return;
  if (level === 'info') console.info(`msd: ${text}`);
  else console.warn(`msd: ${text}`);
}
