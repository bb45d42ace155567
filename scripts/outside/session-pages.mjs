// @msd/onnx/worker as bundlers build it: the story model writes its text step by step, without a pipeline.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { html, PROMPT, TOKENS } from './transformers-page.mjs';
import { run } from './transformers-pages.mjs';

/** Writes sources into a folder of their own below the app. @returns {string} its path */
function sources(app, name, files) {
  const folder = join(app, `${name}-sources`);
  mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text);
  return folder;
}

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

const esbuild = {
  name: 'session-esbuild',
  build(app, folder) {
    mkdirSync(folder, { recursive: true });
    const files = { 'page.js': sessionModule(BESIDE), 'thread.js': "import '@msd/onnx/worker/thread';\n" };
    const from = sources(app, 'session-esbuild', files);
    writeFileSync(join(folder, 'index.html'), html('<script type="module" src="page.js"></script>'));
    const entries = Object.keys(files).map((file) => join(from, file));
    run(app, 'esbuild', [...entries, '--bundle', '--format=esm', `--outdir=${folder}`, '--log-level=error']);
  },
};

export const SESSION_PAGES = [vite, webpack, esbuild];
