// node scripts/outside-transformers.mjs APP: Transformers.js on MSD from its tarball, in Node and in pages. Each has to write the text of
// plain Transformers.js, and MSD's report must not be empty: an import that does nothing is a failure. APP is an app outside the
// workspace in which the tarballs are installed.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openBrowser, resultOf, serve } from './outside/pages.mjs';
import { pnpmApp } from './outside/pnpm-app.mjs';
import { nodeRuns } from './outside/transformers-node.mjs';
import { PAGES, TWO_COPIES } from './outside/transformers-pages.mjs';

const only = process.argv[3] && new RegExp(process.argv[3]);
const app = resolve(process.argv[2]);
const TOOLS = ['@huggingface/transformers@4.3.2', 'vite@8', 'esbuild@0.28'];
const NPM_INSTALL = ['install', '--no-audit', '--no-fund', '--no-save', '--ignore-scripts', '--loglevel=error'];
if (
  !process.env.MSD_INSTALLED &&
  spawnSync('npm', [...NPM_INSTALL, ...TOOLS], { cwd: app, stdio: 'inherit' }).status !== 0
)
  process.exit(1);

// What is at the root of every site: the model in the layout of Transformers.js, and ONNX Runtime's binaries.
const root = join(app, 'site-root');
mkdirSync(root, { recursive: true });
cpSync('examples/story-model/generated', join(root, 'models/story'), { recursive: true });
if (!existsSync(join(root, 'ort')))
  symlinkSync(join(app, 'node_modules/onnxruntime-web/dist'), join(root, 'ort'), 'junction');

const site = await serve({
  '/models/': join(root, 'models'),
  '/ort/': join(root, 'ort'),
  '/': join(app, 'site'),
});
const browser = await openBrowser();
let failed = 0;
let plain;
const say = (name, problem, started) => {
  if (problem) failed++;
  console.log(`${name}: ${problem ?? 'ok'} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
};

async function openPages(folder, pages) {
  for (const page of pages) {
    if (only && !page.isPlain && !only.test(page.name)) continue;
    const started = performance.now();
    await page.build?.(folder, join(app, 'site', page.name));
    const server = await page.serve?.(folder);
    const { result, fetched } = await resultOf(browser, server?.url ?? `${site.url}/${page.name}/`);
    await server?.close();
    if (page.isPlain) plain = result.text;
    say(page.name, server?.problem ?? problemOf(page, result, fetched), started);
  }
}

function runNode(name, folder, nodes) {
  let started = performance.now();
  for (const run of nodeRuns(folder, join(root, 'models'), nodes)) {
    say(`${name}, ${run.name}`, problemOf({}, run.result, []), started);
    started = performance.now();
  }
}

await openPages(app, PAGES);
// The tools' Node, and the one that the user came with.
if (!only || only.test('node')) runNode('npm', app, [...new Set(['node', process.env.MSD_USER_NODE ?? 'node'])]);
if (!only || only.test('pnpm')) {
  const folder = pnpmApp(app);
  runNode('pnpm', folder, ['node']);
  await openPages(folder, TWO_COPIES);
}
await browser.close();
site.close();
process.exit(failed ? 1 : 0);

function problemOf({ isPlain, needsOrt, expected }, { error, text, claimed, left }, fetched) {
  if (expected) return error?.includes(expected) ? undefined : `expected an error about ${expected}, got ${error}`;
  if (error) return error;
  if (text !== plain) return `another text: ${text}`;
  if (isPlain) return undefined;
  if (!(claimed?.model > 0)) return 'MSD took nothing';
  if (left) return 'memory is left after dispose()';
  const binary = fetched.find((path) => path.endsWith('.wasm'));
  return binary && !needsOrt ? `${binary} was fetched, though MSD has everything` : undefined;
}
