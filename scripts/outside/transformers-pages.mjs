// Transformers.js and @msd/onnx as bundlers put them together: what is built, and what each page has to say.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  BY_ALIAS,
  html,
  LATER,
  PLAIN,
  pageModule,
  SERVICE_WORKER_PAGE,
  serviceWorkerModule,
  TAKEN,
  WORKER_PAGE,
  workerModule,
} from './transformers-page.mjs';

const IS_WINDOWS = process.platform === 'win32';

/** Runs a tool of the app. */
export const run = (app, command, args) => {
  const { status } = spawnSync('npx', ['--no-install', command, ...args], {
    cwd: app,
    stdio: 'inherit',
    shell: IS_WINDOWS,
    env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1' },
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
};

function esbuild(name, imports, flags = [], body = undefined) {
  return {
    name,
    build(app, folder) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(app, `${name}.js`), pageModule(imports, body));
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
  logLevel: 'error',
  plugins: [${plugin ?? ''}],
  build: { rollupOptions: { input: 'index.html' } },
};
`;

/** The usual pattern: all of Transformers.js in a worker, which is an entry of its own. */
function esbuildWorker(name, imports) {
  return {
    name,
    build(app, folder) {
      const sources = join(app, name);
      for (const each of [sources, folder]) mkdirSync(each, { recursive: true });
      writeFileSync(join(sources, 'page.js'), WORKER_PAGE);
      writeFileSync(join(sources, 'worker.js'), workerModule(imports));
      writeFileSync(join(folder, 'index.html'), html('<script type="module" src="page.js"></script>'));
      const entries = [`${name}/page.js`, `${name}/worker.js`];
      const flags = ['--bundle', '--format=esm', '--splitting', `--outdir=${folder}`, '--log-level=error'];
      run(app, 'esbuild', [...entries, ...flags]);
    },
  };
}

/** A service worker may not import() anything later: all of it has to be one file. */
function serviceWorker(name, imports) {
  return {
    name,
    build(app, folder) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(app, `${name}.js`), serviceWorkerModule(imports));
      const script = `<script type="module">${SERVICE_WORKER_PAGE}</script>`;
      writeFileSync(join(folder, 'index.html'), html(script));
      run(app, 'esbuild', [
        `${name}.js`,
        '--bundle',
        '--format=iife',
        `--outfile=${join(folder, 'worker.js')}`,
        '--log-level=error',
      ]);
    },
  };
}

/** As in docs/transformers.md. */
const ROLLUP_CONFIG = `import alias from '@rollup/plugin-alias';
import resolve from '@rollup/plugin-node-resolve';

const entries = [{ find: 'onnxruntime-web/webgpu', replacement: '@msd/onnx/ort-web/webgpu' }];
export default {
  output: { format: 'es' },
  plugins: [alias({ entries }), resolve({ browser: true })],
};
`;

function rollup(name, imports) {
  return {
    name,
    build(app, folder) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(app, 'rollup.config.mjs'), ROLLUP_CONFIG);
      writeFileSync(join(app, `${name}.js`), pageModule(imports));
      writeFileSync(join(folder, 'index.html'), html(`<script type="module" src="${name}.js"></script>`));
      run(app, 'rollup', ['--config', 'rollup.config.mjs', '--input', `${name}.js`, '--dir', folder, '--silent']);
    },
  };
}

/** As in docs/transformers.md. An alias for all modules would lead MSD's own import of ONNX Runtime back to MSD. */
const WEBPACK_RULE = `{
  test: /@huggingface[\\\\/]transformers/,
  resolve: { alias: { 'onnxruntime-web/webgpu$': '@msd/onnx/ort-web/webgpu' } },
}`;

function webpack(name, imports, { rule = '', alias = '' } = {}) {
  return {
    name,
    build(app, folder) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(app, `${name}.js`), pageModule(imports));
      writeFileSync(join(folder, 'index.html'), html('<script src="main.js"></script>'));
      // Making the code small takes a minute, and changes nothing here.
      const config = `{ module: { rules: [${rule}] }, resolve: { alias: {${alias}} }, optimization: { minimize: false } }`;
      writeFileSync(join(app, `${name}.config.mjs`), `export default ${config};\n`);
      const args = ['--mode', 'production', '--entry', `./${name}.js`, '--output-path', folder];
      run(app, 'webpack', [...args, '--config', `${name}.config.mjs`, '--stats', 'errors-only']);
    },
  };
}

const NEXT_PAGE = `'use client';
import { useEffect } from 'react';

export default function Page() {
  useEffect(() => {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    worker.onmessage = ({ data }) => { document.title = JSON.stringify(data); };
    return () => worker.terminate();
  }, []);
  return null;
}
`;
const nextLayout = (line) => `${line}
export default function Layout({ children }) {
  return <html lang="en"><body>{children}</body></html>;
}
`;

/** As in docs/transformers.md. */
const TURBOPACK_RULES = `{
  '*.js': { condition: { path: /@huggingface[\\\\/]transformers/ }, loaders: ['@msd/onnx/turbopack'] },
}`;

/**
 * Next.js: a worker in the page; with the line, also in code of the server. As it comes it builds with Turbopack, with a rule for webpack
 * on webpack.
 */
function next(name, imports, { rule, rules } = {}) {
  return {
    name,
    build(app, folder) {
      const root = join(app, `${name}-sources`);
      mkdirSync(join(root, 'app'), { recursive: true });
      const turbopack = `{ root: ${JSON.stringify(app)}, rules: ${rules ?? '{}'} }`;
      const onWebpack = rule && `webpack(config) { config.module.rules.push(${rule}); return config; },`;
      const config = `{ output: 'export', basePath: '/${name}', turbopack: ${turbopack}, ${onWebpack ?? ''} }`;
      writeFileSync(join(root, 'next.config.mjs'), `export default ${config};\n`);
      const line = imports === TAKEN ? "import '@msd/onnx/transformers'; // rendered on the server, too" : '';
      writeFileSync(join(root, 'app/layout.jsx'), nextLayout(line));
      writeFileSync(join(root, 'app/page.jsx'), NEXT_PAGE);
      writeFileSync(join(root, 'app/worker.js'), workerModule(imports));
      run(app, 'next', ['build', ...(rule === undefined ? [] : ['--webpack']), root]);
      cpSync(join(root, 'out'), folder, { recursive: true });
    },
  };
}

/** No bundler: the browser finds every package as the map says, which is that of docs/transformers.md. */
const ORT = '/node_modules/onnxruntime-web/dist/ort.webgpu.bundle.min.mjs';
const IMPORT_MAP = {
  '@huggingface/transformers': '/node_modules/@huggingface/transformers/dist/transformers.web.js',
  'onnxruntime-web/webgpu': ORT,
  'onnxruntime-common': ORT,
  '@msd/onnx/transformers': '/node_modules/@msd/onnx/dist/transformers.js',
  '@msd/core': '/node_modules/@msd/core/dist/index.js',
  '@msd/core/nn': '/node_modules/@msd/core/dist/nn/index.js',
  '@msd/core/program': '/node_modules/@msd/core/dist/program/index.js',
  '@msd/core/theory': '/node_modules/@msd/core/dist/plan/theory.js',
  '@bufbuild/protobuf/wire': '/node_modules/@bufbuild/protobuf/dist/esm/wire/index.js',
};

function importMap(name, imports, map) {
  return {
    name,
    build(_, folder) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'page.js'), pageModule(imports));
      const script = `<script type="importmap">${JSON.stringify({ imports: map })}</script>`;
      writeFileSync(join(folder, 'index.html'), html(`${script}<script type="module" src="page.js"></script>`));
    },
  };
}

/** The sources of a page for Vite, in a folder of their own below the app. */
function viteSources(app, name, imports, config, isInWorker = false) {
  const folder = join(app, name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'page.js'), isInWorker ? WORKER_PAGE : pageModule(imports));
  if (isInWorker) writeFileSync(join(folder, 'worker.js'), workerModule(imports));
  writeFileSync(join(folder, 'index.html'), html('<script type="module" src="./page.js"></script>'));
  writeFileSync(join(folder, 'vite.config.mjs'), config);
  return folder;
}

function vite(name, imports, plugin, isInWorker) {
  return {
    name,
    build(app, folder) {
      const sources = viteSources(app, name, imports, VITE_CONFIG(plugin), isInWorker);
      run(app, 'vite', ['build', sources, '--config', join(sources, 'vite.config.mjs'), '--outDir', folder]);
    },
  };
}

/** The dev server of Vite, as `vite` starts it. @param optimizeDeps of its configuration @param expected what an error has to say */
function dev(name, imports, { plugin, optimizeDeps = {}, expected, isInWorker } = {}) {
  return {
    name,
    expected,
    async serve(app) {
      const root = viteSources(app, name, imports, VITE_CONFIG(plugin), isInWorker);
      const { createServer, createLogger } = await import(
        pathToFileURL(join(app, 'node_modules/vite/dist/node/index.js'))
      );
      const said = [];
      const customLogger = createLogger('silent');
      customLogger.info = (text) => said.push(text);
      const configFile = join(root, 'vite.config.mjs');
      // Every case is a first start: what was bundled before for another one would hide what this one does.
      const cacheDir = join(root, '.vite');
      rmSync(cacheDir, { recursive: true, force: true });
      const publicDir = join(app, 'site-root');
      const fs = { allow: [app] };
      const server = await createServer({
        root,
        configFile,
        cacheDir,
        publicDir,
        optimizeDeps,
        customLogger,
        server: { fs },
      });
      await server.listen(0);
      const has = said.some((text) => text.includes('[@msd/onnx]'));
      const problem = has === (plugin !== undefined) ? undefined : `the plugin said ${JSON.stringify(said)}`;
      return { url: server.resolvedUrls.local[0], problem, close: () => server.close() };
    },
  };
}

/** What Vite builds for a server, with the plugin: the packages stay outside, and Node finds them. @param file in the app's folder */
export function buildForServer(app, file) {
  writeFileSync(join(app, 'server.config.mjs'), VITE_CONFIG('msd()'));
  run(app, 'vite', ['build', '--config', 'server.config.mjs', '--ssr', file, '--outDir', 'server']);
}

const ALIAS = '--alias:onnxruntime-web/webgpu=@msd/onnx/ort-web/webgpu';
const SMALL_ALIAS = '--alias:onnxruntime-web/webgpu=@msd/onnx/ort-web/wasm';

export const PAGES = [
  { ...esbuild('esbuild-plain', PLAIN), isPlain: true },
  esbuild('esbuild', TAKEN),
  esbuild('esbuild-alias', BY_ALIAS, [ALIAS]),
  esbuild('esbuild-alias-wasm', BY_ALIAS, [SMALL_ALIAS]),
  { ...esbuild('esbuild-later', TAKEN, [], LATER), needsOrt: true },
  esbuildWorker('esbuild-worker', TAKEN),
  serviceWorker('service-worker', TAKEN),
  rollup('rollup', BY_ALIAS),
  webpack('webpack', TAKEN),
  webpack('webpack-alias', BY_ALIAS, { rule: WEBPACK_RULE }),
  {
    ...webpack('webpack-cycle', BY_ALIAS, { alias: "'onnxruntime-web/webgpu$': '@msd/onnx/ort-web/webgpu'" }),
    expected: 'the rule for webpack',
  },
  next('next', TAKEN),
  next('next-loader', BY_ALIAS, { rules: TURBOPACK_RULES }),
  next('next-alias', BY_ALIAS, { rule: WEBPACK_RULE }),
  importMap('import-map', TAKEN, IMPORT_MAP),
  {
    ...importMap('import-map-inlined', TAKEN, {
      ...IMPORT_MAP,
      '@huggingface/transformers': '/node_modules/@huggingface/transformers/dist/transformers.min.js',
    }),
    expected: 'transformers.web.js',
  },
  vite('vite', TAKEN),
  vite('vite-plugin', BY_ALIAS, 'msd()'),
  vite('vite-plugin-wasm', BY_ALIAS, 'msd({ cpuOnly: true })'),
  vite('vite-plugin-both', TAKEN, 'msd()'),
  vite('vite-worker', TAKEN, undefined, true),
  vite('vite-plugin-worker', BY_ALIAS, 'msd()', true),
  dev('dev', TAKEN),
  dev('dev-plugin', BY_ALIAS, { plugin: 'msd()' }),
  dev('dev-plugin-worker', BY_ALIAS, { plugin: 'msd()', isInWorker: true }),
  dev('dev-plugin-excluded', TAKEN, { plugin: 'msd()', optimizeDeps: { exclude: ['@huggingface/transformers'] } }),
  dev('dev-trap', TAKEN, { optimizeDeps: { exclude: ['@msd/onnx'] }, expected: '@msd/onnx/vite' }),
];

/** In an app that has an onnxruntime-web of its own beside the one of Transformers.js. */
export const TWO_COPIES = [
  { ...esbuild('two-copies', TAKEN), expected: 'npm ls onnxruntime-web' },
  esbuild('two-copies-alias', BY_ALIAS, [ALIAS]),
];

/** In an app whose package manager gives Transformers.js another package. */
export const OVERRIDE = [esbuild('override', BY_ALIAS)];
export const OVERRIDE_BY_NPM = [esbuild('override-npm', BY_ALIAS)];
