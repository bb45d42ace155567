/** What MSD says of itself, as loud as the module's `env.logLevel` allows. */
import type { OrtModule } from './ort.ts';

const LEVELS = ['verbose', 'info', 'warning', 'error', 'fatal'] as const;

/** Does the module want to hear of something of this level? */
export function isLogged(ort: OrtModule, level: (typeof LEVELS)[number]): boolean {
  const { logLevel = 'warning' } = ort.env as { readonly logLevel?: (typeof LEVELS)[number] };
  return LEVELS.indexOf(level) >= LEVELS.indexOf(logLevel);
}

/** Says something. */
export function log(ort: OrtModule, level: 'info' | 'warning', text: string): void {
  if (!isLogged(ort, level)) return;
  if (level === 'info') console.info(`msd: ${text}`);
  else console.warn(`msd: ${text}`);
}
