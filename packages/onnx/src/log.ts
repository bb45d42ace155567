/** MSD's messages, at the level that the module's `env.logLevel` allows. */
import type { OrtModule } from './ort.ts';

const LEVELS = ['verbose', 'info', 'warning', 'error', 'fatal'] as const;

type Level = (typeof LEVELS)[number];

/** Of modules whose level is another's: by `env`, which all namespaces of a module share. */
const listening = /* @__PURE__ */ new WeakMap<object, () => Level>();

/** Sets the module's level. */
export function listenTo(ort: OrtModule, level: () => Level): void {
  listening.set(ort.env, level);
}

/** Are messages of this level shown? */
export function isLogged(ort: OrtModule, level: Level): boolean {
  const { logLevel = 'warning' } = ort.env as { readonly logLevel?: Level };
  return LEVELS.indexOf(level) >= LEVELS.indexOf(listening.get(ort.env)?.() ?? logLevel);
}

/** Logs a message. */
export function log(ort: OrtModule, level: 'info' | 'warning', text: string): void {
  if (!isLogged(ort, level)) return;
  if (level === 'info') console.info(`msd: ${text}`);
  else console.warn(`msd: ${text}`);
}
