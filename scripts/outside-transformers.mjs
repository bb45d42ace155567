// node scripts/outside-transformers.mjs CORE.tgz ONNX.tgz [NAMES] [APP]: Transformers.js on MSD from tarballs, in Node and in pages, in an
// app outside the workspace. Each has to write the text of plain Transformers.js, and MSD's report must not be empty: an import that
// does nothing is a failure. NAMES, a regular expression, chooses some; APP is kept, and installed once.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { NODE_22, nodeCommand } from '../test/engines/nodes.ts';
import { resultInExtension } from './outside/extension.mjs';
import { overriddenByNpm } from './outside/npm-app.mjs';
import { openBrowser, resultOf, serve } from './outside/pages.mjs';
import { pnpmApp } from './outside/pnpm-app.mjs';
import { SESSION_PAGES } from './outside/session-pages.mjs';
import { missingTransformers, nodeRuns, ON_SERVER, WAYS, WITHOUT_A_LINE } from './outside/transformers-node.mjs';
import { buildForServer, OVERRIDE, OVERRIDE_BY_NPM, PAGES, TWO_COPIES } from './outside/transformers-pages.mjs';
import { typeFlags } from './outside/type-flags.mjs';

const [core, onnx, names, kept] = process.argv.slice(2);
const only = names && new RegExp(names);
const app = kept ? resolve(kept) : mkdtempSync(join(tmpdir(), 'msd-transformers-'));
mkdirSync(app, { recursive: true });

function npmInstall(...args) {
  const flags = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=warn'];
  const { status, stderr } = spawnSync('npm', [...flags, ...args], { cwd: app, encoding: 'utf8' });
  if (status !== 0 || /peer/i.test(stderr)) throw new Error(`npm install ${args.join(' ')}: ${stderr}`);
}

const TOOLS = [
  '@huggingface/transformers@4.3.2',
  'vite@8',
  'esbuild@0.28',
  'rollup@4',
  '@rollup/plugin-alias@6',
  '@rollup/plugin-node-resolve@16',
  'typescript@7',
  'webpack@5',
  'webpack-cli@6',
  'next@16',
  'react@19',
  'react-dom@19',
];

let failed = 0;
const say = (name, problem, started) => {
  if (problem) failed++;
  console.log(`${name}: ${problem ?? 'ok'} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
};

if (!existsSync(join(app, 'node_modules'))) {
  const started = performance.now();
  writeFileSync(join(app, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  // As a reader of the README does who has no Transformers.js yet.
  npmInstall(core, onnx);
  const said = missingTransformers(app);
  say('no Transformers.js', /npm install @huggingface\/transformers/.test(said) ? undefined : said, started);
  npmInstall(...TOOLS);
}

// What is at the root of every site: the model in the layout of Transformers.js, and ONNX Runtime's binaries.
const root = join(app, 'site-root');
mkdirSync(root, { recursive: true });
cpSync('examples/story-model/generated', join(root, 'models/story'), { recursive: true });
const models = ['story'];
// A trained model that this repository does not hold, where a checkout has it beside.
const tales = '../shared/conformance/stories260k';
if (existsSync(tales)) {
  rmSync(join(root, 'models/stories260k'), { recursive: true, force: true });
  for (const file of [
    'config.json',
    'generation_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'onnx/model_q4.onnx',
  ]) {
    mkdirSync(dirname(join(root, 'models/stories260k', file)), { recursive: true });
    writeFileSync(join(root, 'models/stories260k', file), readFileSync(join(tales, file)));
  }
  models.push('stories260k');
} else console.log(`stories260k SKIPPED: ${tales} is absent`);
writeFileSync(join(root, 'models/names.json'), JSON.stringify(models));
if (!existsSync(join(root, 'ort')))
  symlinkSync(join(app, 'node_modules/onnxruntime-web/dist'), join(root, 'ort'), 'junction');

const roots = {
  '/models/': join(root, 'models'),
  '/ort/': join(root, 'ort'),
  '/node_modules/': join(app, 'node_modules'),
  '/': join(app, 'site'),
};
const site = await serve(roots);
const isolated = await serve(roots, {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
});
const browser = await openBrowser();
let plain;

async function openPages(folder, pages) {
  for (const page of pages) {
    if (only && !page.isPlain && !only.test(page.name)) continue;
    const started = performance.now();
    await page.build?.(folder, join(app, 'site', page.name));
    const server = await page.serve?.(folder);
    const { url } = server ?? (page.isIsolated ? isolated : site);
    const { result, fetched, workers } = await resultOf(browser, server ? url : `${url}/${page.name}/`);
    await server?.close();
    if (page.isPlain) plain = result;
    say(
      page.isIsolated ? `${page.name}, isolated` : page.name,
      server?.problem ?? problemOf({ ...page, workers }, result, fetched),
      started,
    );
  }
}

function runNode(name, folder, nodes, ways = WAYS) {
  let started = performance.now();
  for (const run of nodeRuns(folder, join(root, 'models'), nodes, ways)) {
    say(`${name}, ${run.name}`, problemOf({}, run.result, []), started);
    started = performance.now();
  }
}

if (!only || only.test('types')) {
  cpSync('scripts/outside-app-transformers.ts', join(app, 'app.ts'));
  for (const flags of typeFlags) {
    const started = performance.now();
    const args = ['--no-install', 'tsc', ...flags, '--skipLibCheck', 'app.ts'];
    const { status, stdout } = spawnSync('npx', args, { cwd: app, encoding: 'utf8' });
    say(`types, ${flags.at(-1)}`, status === 0 ? undefined : stdout, started);
  }
}
await openPages(app, PAGES);
await openPages(app, SESSION_PAGES);
await openPages(app, [
  { name: 'esbuild', isIsolated: true },
  { name: 'session-vite', isIsolated: true },
]);
if (!only || only.test('extension')) {
  const started = performance.now();
  const { result, fetched } = await resultInExtension(app, join(root, 'models'));
  say('extension', problemOf({}, result, fetched), started);
}
// The tools' Node, the one that the user came with, and the line of releases between them.
if (!only || only.test('node')) {
  const between = await nodeCommand(NODE_22);
  if (between.unavailable) say('node 22', between.unavailable, performance.now());
  const nodes = ['node', process.env.MSD_USER_NODE ?? 'node', ...(between.file ? [between.file] : [])];
  runNode('npm', app, [...new Set(nodes)]);
}
if (!only || only.test('server')) {
  buildForServer(app, 'before.mjs');
  runNode('vite for a server', app, ['node'], [ON_SERVER]);
}
if (!only || only.test('override-npm')) {
  const overridden = overriddenByNpm(app, core, onnx);
  runNode('override by npm', overridden, ['node'], [WITHOUT_A_LINE]);
  await openPages(overridden, OVERRIDE_BY_NPM);
}
if (!only || only.test('pnpm')) {
  const folder = pnpmApp(app, core, onnx);
  runNode('pnpm', folder, ['node']);
  await openPages(folder, TWO_COPIES);
  const overridden = pnpmApp(app, core, onnx, true);
  runNode('override', overridden, ['node'], [WITHOUT_A_LINE]);
  await openPages(overridden, OVERRIDE);
}
await browser.close();
site.close();
isolated.close();
if (!kept) rmSync(app, { recursive: true, force: true });
process.exit(failed ? 1 : 0);

function problemOf(
  { isPlain, isIsolated, workers, needsOrt, expected },
  { error, text, others = {}, claimed, left, threads },
  fetched,
) {
  if (expected) return error?.includes(expected) ? undefined : `expected an error about ${expected}, got ${error}`;
  if (error) return error;
  if (text !== plain.text) return `another text: ${text}`;
  for (const [name, other] of Object.entries(others))
    if (other !== plain.others[name]) return `another text of ${name}: ${other}`;
  if (isPlain) return undefined;
  for (const [name, count] of Object.entries(claimed ?? { model: 0 }))
    if (!(count > 0)) return `MSD took nothing of ${name}`;
  if (isIsolated && !(threads > 1)) return `${threads} thread`;
  if (isIsolated && workers > 0) return `${workers} workers are left after dispose()`;
  if (left) return 'memory is left after dispose()';
  const binary = fetched.find((path) => path.endsWith('.wasm'));
  return binary && !needsOrt ? `${binary} was fetched, though MSD has everything` : undefined;
}
