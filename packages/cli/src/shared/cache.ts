/** What is worth keeping between commands, in the user's cache folder. It may be lost at any time. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Where caches of this user lie. */
export function cacheFolder(): string {
  const { MSD_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (MSD_CACHE) return MSD_CACHE;
  if (process.platform === 'win32' && LOCALAPPDATA) return join(LOCALAPPDATA, 'msd');
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'msd');
  return join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'msd');
}

/** What was kept under a name for the same key; `undefined` if nothing was. */
export function readCache<T>(name: string, key: string): T | undefined {
  try {
    const kept = JSON.parse(readFileSync(join(cacheFolder(), `${name}.json`), 'utf8')) as { key: string; value: T };
    return kept.key === key ? kept.value : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps a value. A folder that cannot be written to, or a full disk, keeps what there was. */
export function writeCache(name: string, key: string, value: unknown): void {
  const path = join(cacheFolder(), `${name}.json`);
  const part = `${path}.${process.pid}.part`;
  try {
    mkdirSync(cacheFolder(), { recursive: true });
    writeFileSync(part, JSON.stringify({ key, value }));
    renameSync(part, path);
  } catch {
    // The next command measures again.
    rmSync(part, { force: true });
  }
}
