/** Packages of tfjs a second time, for tests: their files in a folder of their own, as npm lays them out. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type * as tfConverter from '@tensorflow/tfjs-converter';
import type * as tfCore from '@tensorflow/tfjs-core';
import type * as tfLayers from '@tensorflow/tfjs-layers';

const PACKAGES = ['tfjs-core', 'tfjs-converter', 'tfjs-layers'] as const;

export interface Copies {
  readonly core: typeof tfCore;
  readonly converter: typeof tfConverter;
  readonly layers: typeof tfLayers;
}

const folderOf = (name: string): string =>
  realpathSync(dirname(createRequire(import.meta.url).resolve(`@tensorflow/${name}/package.json`)));

/** @param twice is copied; what is not is the same package that everybody has */
export function copiesOf(twice: readonly (typeof PACKAGES)[number][]): Copies {
  const modules = join(mkdtempSync(join(tmpdir(), 'msd-copies-')), 'node_modules');
  mkdirSync(join(modules, '@tensorflow'), { recursive: true });
  for (const name of PACKAGES) {
    const [from, to] = [folderOf(name), join(modules, '@tensorflow', name)];
    if (!twice.includes(name)) {
      symlinkSync(from, to);
      continue;
    }
    const { main } = JSON.parse(readFileSync(join(from, 'package.json'), 'utf8')) as { main: string };
    for (const file of ['package.json', main]) cpSync(join(from, file), join(to, file));
  }
  // What tfjs-core needs lies beside it.
  const beside = dirname(dirname(folderOf('tfjs-core')));
  for (const name of readdirSync(beside).filter((own) => !/^[@.]/.test(own)))
    symlinkSync(realpathSync(join(beside, name)), join(modules, name));
  const require = createRequire(join(modules, 'index.js'));
  const [core, converter, layers] = PACKAGES.map((name) => require(`@tensorflow/${name}`) as never);
  return { core: core!, converter: converter!, layers: layers! };
}
