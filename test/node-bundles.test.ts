/** What Node loads of the packages: bundles (scripts/node-bundles.mjs), each module once, whichever entries a process imports. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const inNode = (...args: string[]): string => execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' });

interface Loaded {
  readonly files: readonly string[];
  /** Files until a first session was there. */
  readonly first: number;
  readonly threads: number;
  /** Lengths of results of a session here and of one in a Worker. */
  readonly lengths: readonly number[];
  readonly isOneCore: boolean;
  readonly stack: string;
}

/** Entries of a package that have a bundle: the module that it is made of, and the bundle. */
function entriesOf(folder: string): [name: string, module: string, bundle: string][] {
  const { exports } = JSON.parse(readFileSync(`${root}/packages/${folder}/package.json`, 'utf8')) as {
    exports: Record<string, { node?: string }>;
  };
  return Object.entries(exports).flatMap(([name, { node }]) =>
    node ? [[name, node.replace('/node/', '/'), node] as [string, string, string]] : [],
  );
}

describe('a process of Node', () => {
  const loaded = JSON.parse(
    inNode('--enable-source-maps', '--no-warnings', 'test/entries/node-process.mjs').split('\n').at(-2) ?? '',
  ) as Loaded;

  it('loads bundles only, so that nothing is there twice', () => {
    expect(loaded.files.length).toBeGreaterThan(20);
    expect(loaded.files.filter((file) => !/^(core|onnx|tfjs)\/dist\/node\//.test(file))).toEqual([]);
    expect(new Set(loaded.files).size).toBe(loaded.files.length);
    expect(loaded.isOneCore).toBe(true);
  });

  it('has a first session after few files', () => {
    console.log(`${loaded.first} files`);
    expect(loaded.first).toBeLessThan(60);
  });

  it('computes on threads and in a Worker', () => {
    expect(loaded.threads).toBe(2);
    expect(loaded.lengths).toEqual([16, 16]);
  });

  it('maps stacks to the modules', () => {
    expect(loaded.stack).toContain('createBackend');
    expect(loaded.stack).toMatch(/packages[\\/]core[\\/]dist[\\/](?!node)[\w\\/-]+\.js:\d+/);
  });
});

describe.each(['core', 'onnx', 'tfjs'])('@msd/%s', (folder) => {
  const entries = entriesOf(folder).filter(([name]) => name !== './transformers' && name !== './worker/thread');

  it('exports the same from bundles', () => {
    expect(entries.length).toBeGreaterThan(0);
    const urls = entries.map((entry) =>
      entry.slice(1).map((file) => pathToFileURL(`${root}/packages/${folder}/${file}`).href),
    );
    const keys = `JSON.stringify(await Promise.all(${JSON.stringify(urls)}.map(async (both) => (await Promise.all(both.map((url) => import(url)))).map((all) => Object.keys(all).sort()))))`;
    const all = JSON.parse(inNode('--input-type=module', '--eval', `console.log(${keys})`)) as string[][][];
    for (const [i, [name]] of entries.entries()) {
      const [modules, bundle] = all[i]!;
      expect(bundle, name).toEqual(modules);
      expect(bundle!.length, name).toBeGreaterThan(0);
    }
  });

  it('has each bundle and the module that it is made of', () => {
    for (const [, module, bundle] of entriesOf(folder)) {
      expect(existsSync(`${root}/packages/${folder}/${module}`), module).toBe(true);
      expect(existsSync(`${root}/packages/${folder}/${bundle}`), bundle).toBe(true);
    }
  });
});
