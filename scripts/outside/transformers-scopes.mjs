// Transformers.js and @msd/onnx where pages are not the usual ones: a worker of esbuild, a service worker, an extension's page under its
// strict Content-Security-Policy; and @msd/onnx/worker as bundlers build it.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright';
import { findChromium } from '../find-chromium.mjs';
import { html, PROMPT, pageModule, TAKEN, TOKENS, WORKER_PAGE, workerModule } from './transformers-page.mjs';

const MODULE_PAGE = html('<script type="module" src="page.js"></script>');

const run = (app, command, args) => {
  const { status } = spawnSync('npx', ['--no-install', command, ...args], {
    cwd: app,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${status}`);
};

/** Writes sources into a folder of their own below the app. @returns {string} its path */
function sources(app, name, files) {
  const folder = join(app, `${name}-sources`);
  mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text);
  return folder;
}

/** Each file as one, with all that it imports: service workers have no import(). */
function bundle(app, folder, entries) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'index.html'), MODULE_PAGE);
  run(app, 'esbuild', [...entries, '--bundle', '--format=esm', `--outdir=${folder}`, '--log-level=error']);
}

function esbuild(name, files, more = []) {
  return {
    name,
    build(app, folder) {
      const from = sources(app, name, files);
      bundle(app, folder, [...Object.keys(files).map((file) => join(from, file)), ...more]);
    },
  };
}

const SERVICE_PAGE = `
(async () => {
  await navigator.serviceWorker.register('worker.js', { type: 'module' });
  const { active } = await navigator.serviceWorker.ready;
  navigator.serviceWorker.onmessage = ({ data }) => { document.title = JSON.stringify(data); };
  active.postMessage('write');
})().catch((error) => { document.title = JSON.stringify({ error: String(error) }); });
`;
/** The browser ends a service worker that nothing waits for. */
const SERVICE_WORKER = workerModule(TAKEN)
  .replace('(async () => {', 'const write = (postMessage) => (async () => {')
  .concat(`
addEventListener('install', () => skipWaiting());
addEventListener('activate', (event) => event.waitUntil(clients.claim()));
addEventListener('message', (event) => event.waitUntil(write((result) => event.source.postMessage(result))));
`);

const MANIFEST = {
  manifest_version: 3,
  name: 'MSD',
  version: '1.0',
  content_security_policy: { extension_pages: "script-src 'self' 'wasm-unsafe-eval'; object-src 'self'" },
};

/** A page of an extension: Chromium names an extension without a key after its folder. */
const extension = {
  name: 'extension',
  async serve(app) {
    const folder = join(app, 'extension');
    bundle(app, folder, [join(sources(app, 'extension', { 'page.js': pageModule(TAKEN) }), 'page.js')]);
    // Nothing in the page itself may be a script.
    writeFileSync(
      join(folder, 'index.html'),
      '<!doctype html><title></title><script type="module" src="page.js"></script>',
    );
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify(MANIFEST));
    cpSync(join(app, 'site-root/models'), join(folder, 'models'), { recursive: true });
    const profile = mkdtempSync(join(tmpdir(), 'msd-profile-'));
    const path = realpathSync(folder);
    const browser = await chromium.launchPersistentContext(profile, {
      executablePath: findChromium(),
      // Playwright's own headless mode of old knows no extensions.
      headless: false,
      args: ['--headless=new', '--no-sandbox', `--disable-extensions-except=${path}`, `--load-extension=${path}`],
    });
    const id = createHash('sha256').update(path).digest('hex').slice(0, 32);
    const letters = [...id].map((digit) => String.fromCharCode(97 + Number.parseInt(digit, 16))).join('');
    const close = async () => {
      await browser.close();
      rmSync(profile, { recursive: true, force: true });
    };
    return { url: `chrome-extension://${letters}/index.html`, browser, close };
  },
};

/** A text written with @msd/onnx/worker and nothing around it: keys and values never leave the Worker. */
const sessionModule = (worker) => `
import { AutoTokenizer, env } from '@huggingface/transformers';
import { createSession } from '@msd/onnx/worker';
(async () => {
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = '/models/';
  env.useBrowserCache = false;
  const tokenizer = await AutoTokenizer.from_pretrained('story');
  const session = await createSession('/models/story/onnx/model_q4.onnx', { ${worker} });
  let past = Object.fromEntries(
    session.inputMetadata
      .filter(({ name }) => name.startsWith('past'))
      .map(({ name, type, shape }) => [name, { type, dims: [1, shape[1], 0, shape[3]], data: new Float32Array(0) }]),
  );
  const ids = [...tokenizer('${PROMPT}').input_ids.data];
  const int64 = (values) => ({ type: 'int64', dims: [1, values.length], data: BigInt64Array.from(values) });
  let fed = ids.slice();
  for (let i = 0; i < ${TOKENS} && ids.at(-1) !== 2n; i++) {
    const results = await session.run({ input_ids: int64(fed), attention_mask: int64(ids.map(() => 1n)), ...past });
    past = {};
    for (const [name, tensor] of Object.entries(results)) {
      if (name === 'logits') continue;
      if (tensor.location !== 'worker') throw new Error(name + ' is on the page');
      past[name.replace('present', 'past_key_values')] = tensor;
    }
    const last = results.logits.data.slice(-results.logits.dims[2]);
    fed = [BigInt(last.indexOf(Math.max(...last)))];
    ids.push(...fed);
  }
  const claimed = { model: session.report.nodes.filter(({ where }) => where === 'msd').length };
  const threads = session.report.threads?.count;
  await session.release();
  const left = session.report.memory.wasmBytes > 0;
  return { text: tokenizer.decode(ids, { skip_special_tokens: true }), claimed, left, threads };
})()
  .catch((error) => ({ error: String(error) }))
  .then((result) => { document.title = JSON.stringify(result); });
`;

const vite = {
  name: 'session-vite',
  build(app, folder) {
    const files = {
      'page.js': sessionModule(''),
      'index.html': html('<script type="module" src="./page.js"></script>'),
    };
    const from = sources(app, 'session-vite', files);
    run(app, 'vite', ['build', from, '--base', './', '--logLevel', 'error', '--outDir', folder, '--emptyOutDir']);
  },
};

const webpack = {
  name: 'session-webpack',
  build(app, folder) {
    mkdirSync(folder, { recursive: true });
    const from = sources(app, 'session-webpack', {
      'page.js': sessionModule(''),
      'config.mjs': 'export default { optimization: { minimize: false } };\n',
    });
    writeFileSync(join(folder, 'index.html'), html('<script src="main.js"></script>'));
    const args = ['--mode', 'production', '--entry', join(from, 'page.js'), '--output-path', folder];
    run(app, 'webpack', [...args, '--config', join(from, 'config.mjs'), '--stats', 'errors-only']);
  },
};

const BESIDE = "worker: () => new Worker(new URL('thread.js', import.meta.url), { type: 'module' })";

export const SCOPES = [
  esbuild('esbuild-worker', { 'page.js': WORKER_PAGE, 'worker.js': workerModule(TAKEN) }),
  esbuild('service-worker', { 'page.js': SERVICE_PAGE, 'worker.js': SERVICE_WORKER }),
  extension,
  vite,
  webpack,
  esbuild('session-esbuild', {
    'page.js': sessionModule(BESIDE),
    'thread.js': "import '@msd/onnx/worker/thread';\n",
  }),
];
