// node scripts/outside-bundlers.mjs APP: @msd/tfjs from its tarball, in pages that Vite, webpack and esbuild build and in one with
// plain script tags, each opened in Chromium. APP is an app outside the workspace in which the tarballs are installed.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, resolve } from 'node:path';
import { chromium } from 'playwright';
import { BROWSER_PATIENCE_MS, findChromium } from './find-chromium.mjs';

const BUNDLERS = ['vite@8', 'webpack@5', 'webpack-cli@6', 'esbuild@0.28'];
const TFJS = [
  '@tensorflow/tfjs-core',
  '@tensorflow/tfjs-backend-cpu',
  '@tensorflow/tfjs-backend-wasm',
  '@tensorflow/tfjs',
];
const TFJS_VERSION = '4.22.0';

const app = resolve(process.argv[2]);
const site = join(app, 'site');
const run = (command, args) => {
  const { status } = spawnSync(command, args, { cwd: app, stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
};

const install = ['install', '--no-audit', '--no-fund', '--no-save', '--loglevel=error'];
run('npm', [...install, ...BUNDLERS, ...TFJS.map((name) => `${name}@${TFJS_VERSION}`)]);
// Apart: it brings the converter and the layers along.
const whole = join(app, 'whole');
mkdirSync(whole, { recursive: true });
run('npm', [...install, '--prefix', whole, `@tensorflow/tfjs@${TFJS_VERSION}`]);

// What every page does. The converter and layers are not installed: bundlers have to accept that optional peers are missing.
const body = `
  const folder = new URL('../wasm/', document.baseURI).href;
  setWasmPaths(folder);
  await tf.setBackend('wasm');
  register(tf);
  const [x, w] = [tf.randomNormal([2, 3, 300]), tf.randomNormal([300, 33])];
  const q = quantize(w, { format: 'int8' });
  const want = tf.reshape(tf.matMul(tf.reshape(x, [6, 300]), w), [2, 3, 33]);
  const error = tf.div(tf.norm(tf.sub(matMul(x, q), want)), tf.norm(want)).dataSync()[0];
  document.title = error < 0.01 && q.byteLength < 0.4 * 4 * w.size ? 'ok ' + status().weights : 'error ' + error;
`;
const guarded = (code) => `(async () => {${code}})().catch((error) => { document.title = String(error); });\n`;
writeFileSync(
  join(app, 'page.js'),
  `import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { matMul, quantize, register, status } from '@msd/tfjs';
${guarded(body)}`,
);
const page = (scripts) =>
  `<!doctype html><meta charset="utf-8"><title>running</title><link rel="icon" href="data:,">${scripts}`;
const write = (folder, scripts) => {
  mkdirSync(join(site, folder), { recursive: true });
  writeFileSync(join(site, folder, 'index.html'), page(scripts));
};

const modules = join(app, 'node_modules');
cpSync(join(modules, '@tensorflow/tfjs-backend-wasm/dist'), join(site, 'wasm'), {
  recursive: true,
  filter: (path) => !/\.\w+$/.test(path) || path.endsWith('.wasm'),
});

writeFileSync(join(app, 'index.html'), page('<script type="module" src="./page.js"></script>'));
run('npx', ['--no-install', 'vite', 'build', '--base', './', '--outDir', 'site/vite', '--logLevel', 'warn']);

run('npx', [
  '--no-install',
  'webpack',
  '--mode',
  'production',
  '--entry',
  './page.js',
  '--output-path',
  join(site, 'webpack'),
  '--stats',
  'errors-only',
]);
write('webpack', '<script src="main.js"></script>');

run('npx', [
  '--no-install',
  'esbuild',
  'page.js',
  '--bundle',
  '--format=esm',
  '--splitting',
  '--outdir=site/esbuild',
  '--log-level=error',
  '--external:fs',
  '--external:path',
  '--external:worker_threads',
  '--external:perf_hooks',
  '--external:os',
]);
write('esbuild', '<script type="module" src="page.js"></script>');

write(
  'script',
  '<script src="tf.js"></script><script src="wasm.js"></script><script src="msd.js"></script><script src="page.js"></script>',
);
for (const [to, from] of [
  ['tf.js', join(whole, 'node_modules/@tensorflow/tfjs/dist/tf.min.js')],
  ['wasm.js', join(modules, '@tensorflow/tfjs-backend-wasm/dist/tf-backend-wasm.min.js')],
  ['msd.js', join(modules, '@msd/tfjs/dist/msd-tfjs.min.js')],
])
  cpSync(from, join(site, 'script', to));
writeFileSync(
  join(site, 'script/page.js'),
  `const { setWasmPaths } = tf.wasm;\nconst { matMul, quantize, register, status } = msd;\n${guarded(body)}`,
);

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm' };
const server = createServer((request, response) => {
  const path = new URL(request.url, 'http://localhost').pathname;
  try {
    const file = join(site, path.endsWith('/') ? `${path}index.html` : path);
    response.setHeader('Content-Type', TYPES[extname(file)] ?? 'application/octet-stream');
    response.end(readFileSync(file));
  } catch {
    response.statusCode = 404;
    response.end();
  }
});
await new Promise((done) => server.listen(0, done));
const { port } = server.address();
const browser = await chromium.launch({
  executablePath: findChromium(),
  args: ['--no-sandbox'],
  timeout: BROWSER_PATIENCE_MS,
});
let failed = 0;
for (const name of ['vite', 'webpack', 'esbuild', 'script']) {
  const tab = await browser.newPage();
  tab.setDefaultTimeout(BROWSER_PATIENCE_MS);
  const problems = [];
  tab.on('pageerror', (error) => problems.push(String(error)));
  await tab.goto(`http://localhost:${port}/${name}/`);
  await tab.waitForFunction(() => document.title !== 'running').catch(() => {});
  const title = await tab.title();
  if (title !== 'ok tfjs heap') failed++;
  console.log(`${name}: ${title}${problems.length ? `; ${problems.join('; ')}` : ''}`);
  await tab.close();
}
await browser.close();
server.close();
process.exit(failed ? 1 : 0);
