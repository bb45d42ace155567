// Transformers.js and @msd/onnx as bundlers put them together: what is built, and what each page has to say.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BY_ALIAS, html, PLAIN, pageModule, TAKEN } from './transformers-page.mjs';

const run = (app, command, args) => {
  const { status } = spawnSync('npx', ['--no-install', command, ...args], {
    cwd: app,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
};

const folderOf = (app, name) => {
  const folder = join(app, 'site', name);
  mkdirSync(folder, { recursive: true });
  return folder;
};

function esbuild(name, imports, flags = []) {
  return {
    name,
    build(app) {
      const folder = folderOf(app, name);
      writeFileSync(join(app, `${name}.js`), pageModule(imports));
      writeFileSync(join(folder, 'index.html'), html(`<script type="module" src="${name}.js"></script>`));
      run(app, 'esbuild', [
        `${name}.js`,
        '--bundle',
        '--format=esm',
        '--splitting',
        `--outdir=${folder}`,
        '--log-level=error',
        ...flags,
      ]);
    },
  };
}

const VITE_CONFIG = (plugin) => `${plugin ? "import msd from '@msd/onnx/vite';\n" : ''}export default {
  base: './',
  logLevel: 'warn',
  plugins: [${plugin ?? ''}],
  build: { rollupOptions: { input: 'index.html' } },
};
`;

/** The sources of a page for Vite, in a folder of their own below the app. */
function viteSources(app, name, imports, config) {
  const folder = join(app, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'page.js'), pageModule(imports));
  writeFileSync(join(folder, 'index.html'), html('<script type="module" src="./page.js"></script>'));
  writeFileSync(join(folder, 'vite.config.mjs'), config);
  return folder;
}

function vite(name, imports, plugin) {
  return {
    name,
    build(app) {
      const folder = viteSources(app, name, imports, VITE_CONFIG(plugin));
      const out = join(app, 'site', name);
      run(app, 'vite', ['build', folder, '--config', join(folder, 'vite.config.mjs'), '--outDir', out]);
    },
  };
}

const ALIAS = '--alias:onnxruntime-web/webgpu=@msd/onnx/ort-web/webgpu';
const SMALL_ALIAS = '--alias:onnxruntime-web/webgpu=@msd/onnx/ort-web/wasm';

/** What stands in the place of ONNX Runtime's binary; nobody needs it where everything is claimed. */
export const PAGES = [
  { ...esbuild('esbuild-plain', PLAIN), isPlain: true },
  esbuild('esbuild', TAKEN),
  esbuild('esbuild-alias', BY_ALIAS, [ALIAS]),
  esbuild('esbuild-alias-wasm', BY_ALIAS, [SMALL_ALIAS]),
  vite('vite', TAKEN),
  vite('vite-plugin', BY_ALIAS, 'msd()'),
  vite('vite-plugin-wasm', BY_ALIAS, 'msd({ cpuOnly: true })'),
  vite('vite-plugin-both', TAKEN, 'msd()'),
];
