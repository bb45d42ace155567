/** Bundles the engines' entries to plain JavaScript: no engine but the newest strips types, and none has vitest. */
import { basename } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin } from 'vite';

const here = fileURLToPath(new URL('.', import.meta.url));
const core = fileURLToPath(new URL('../../packages/core/', import.meta.url));
const storyModel = fileURLToPath(new URL('../../examples/story-model/generated/', import.meta.url));
const built = fileURLToPath(new URL('../generated/engines/', import.meta.url));

/**
 * Core's modules, wherever its tests import their source, become the files of its dist: what users get is what runs. Those that are
 * asked for in dist are the ones of @msd/core itself, which Node has in bundles.
 */
function distOfCore({ external }: { external: boolean }): Plugin {
  return {
    name: 'dist-of-core',
    enforce: 'pre',
    async resolveId(source, importer) {
      if (!source.startsWith('.') || importer === undefined) return null;
      const path = (await this.resolve(source, importer, { skipSelf: true }))?.id;
      if (external && path?.startsWith(`${core}dist/`))
        return { id: pathToFileURL(path.replace(`${core}dist/`, `${core}dist/node/`)).href, external };
      if (!path?.startsWith(`${core}src/`) || path.endsWith('.test.ts')) return null;
      const dist = path.replace(`${core}src/`, `${core}dist/`).replace(/\.ts$/, '.js');
      return external ? { id: pathToFileURL(dist).href, external } : dist;
    },
  };
}

const alias = [
  { find: /^vitest$/, replacement: `${here}vitest.ts` },
  { find: /^onnxruntime-web$/, replacement: 'onnxruntime-web/wasm' },
];

const shared = {
  configFile: false,
  root: here,
  logLevel: 'warn',
} as const;
/** core's package.json promises no side effects: its tests have nothing else */
const rollupOptions = { treeshake: false } as const;

/**
 * @param entry the module to run: its path, and the folder of the bundle
 * @returns the file to run in Node; @msd/core, @msd/onnx and onnxruntime-web stay outside of it
 */
export async function buildForNode(entry: string = `${here}node.ts`, folder = 'node'): Promise<string> {
  const outDir = `${built}${folder}`;
  await build({
    ...shared,
    plugins: [distOfCore({ external: true })],
    resolve: { alias },
    build: {
      ssr: entry,
      target: 'node20',
      outDir,
      emptyOutDir: true,
      rollupOptions: { ...rollupOptions, external: [/^@msd\//] },
    },
  });
  return `${outDir}/${basename(entry, '.ts')}.js`;
}

/** @returns the folder to serve, with page.html and the story model in it */
export async function buildForBrowser(): Promise<string> {
  const outDir = `${built}browser`;
  await build({
    ...shared,
    publicDir: storyModel,
    plugins: [distOfCore({ external: false })],
    resolve: { alias: [...alias, { find: /^node:(crypto|url)$/, replacement: `${here}no-node.ts` }] },
    define: { 'process.env.MSD_TEST_ALL': 'undefined', 'process.argv': '[]' },
    build: {
      outDir,
      emptyOutDir: true,
      minify: false,
      modulePreload: false,
      rollupOptions: { ...rollupOptions, input: `${here}page.html` },
    },
  });
  return outDir;
}
