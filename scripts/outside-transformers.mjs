// node scripts/outside-transformers.mjs APP: Transformers.js on MSD from its tarball, in Node and in pages. Each has to write the text of
// plain Transformers.js, and MSD's report must not be empty: an import that does nothing is a failure. APP is an app outside the
// workspace in which the tarballs are installed.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { openBrowser, resultOf, serve } from './outside/pages.mjs';
import { PAGES } from './outside/transformers-pages.mjs';

const only = process.argv[3] && new RegExp(process.argv[3]);
const app = resolve(process.argv[2]);
const TOOLS = ['@huggingface/transformers@4.3.2', 'vite@8', 'esbuild@0.28'];
const install = ['install', '--no-audit', '--no-fund', '--no-save', '--ignore-scripts', '--loglevel=error'];
if (!process.env.MSD_INSTALLED && spawnSync('npm', [...install, ...TOOLS], { cwd: app, stdio: 'inherit' }).status !== 0)
  process.exit(1);

mkdirSync(join(app, 'models'), { recursive: true });
cpSync('examples/story-model/generated', join(app, 'models/story'), { recursive: true });

let failed = 0;
const say = (name, problem, detail) => {
  if (problem) failed++;
  console.log(`${name}: ${problem ?? 'ok'}${detail ? ` (${detail})` : ''}`);
};

const site = await serve({
  '/models/': join(app, 'models'),
  '/ort/': join(app, 'node_modules/onnxruntime-web/dist'),
  '/': join(app, 'site'),
});
const browser = await openBrowser();
let plain;
for (const { name, build, isPlain } of PAGES) {
  if (only && !isPlain && !only.test(name)) continue;
  await build(app);
  const started = performance.now();
  const { result, fetched, problems } = await resultOf(browser, `${site.url}/${name}/`);
  const wasm = fetched.filter((path) => path.endsWith('.wasm'));
  const detail = `${Math.round(performance.now() - started)} ms, ${JSON.stringify(result.claimed)} ${wasm.join(' ')} ${problems.join('; ')}`;
  if (isPlain) plain = result.text;
  say(name, problemOf(result, isPlain), detail);
}
await browser.close();
site.close();
process.exit(failed ? 1 : 0);

function problemOf({ error, text, claimed, left }, isPlain) {
  if (error) return error;
  if (text !== plain) return `another text: ${text}`;
  if (!isPlain && !(claimed?.model > 0)) return 'MSD took nothing';
  if (left) return 'memory is left after dispose()';
  return undefined;
}
