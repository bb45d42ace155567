// What every page of the Transformers.js checks does: each model writes one text, greedily, and the page hands over the texts and what
// MSD says it did. Plain Transformers.js is the same page without MSD.

/** Tokens that a page writes: enough for the caches of keys and values to matter. */
export const TOKENS = 48;
export const PROMPT = 'Once upon a time';

const SETUP = `
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = '/models/';
  if (env.backends.onnx.wasm.wasmPaths?.wasm) {
    env.backends.onnx.wasm.wasmPaths = {
      mjs: '/ort/ort-wasm-simd-threaded.asyncify.mjs',
      wasm: '/ort/ort-wasm-simd-threaded.asyncify.wasm',
    };
  }
`;

/** What pages, workers and Node do with the models by name in `names`. `text` is that of the story model. */
export const WRITE = `
  const texts = {};
  const claimed = {};
  let left = false;
  let threads;
  for (const name of names) {
    const write = await pipeline('text-generation', name, { dtype: 'q4' });
    const [{ generated_text }] = await write('${PROMPT}', { max_new_tokens: ${TOKENS}, do_sample: false });
    texts[name] = generated_text;
    const report = reportOf ? reportOf(write).model : write.model.sessions.model.report;
    claimed[name] = report?.nodes.filter(({ where }) => where === 'msd').length ?? 0;
    threads = report?.threads?.count;
    await write.dispose();
    left ||= reportOf !== undefined && (reportOf(write).model?.memory.wasmBytes ?? 0) > 0;
  }
  const { story: text, ...others } = texts;
`;

/** The body of a module. `pipeline`, `env` and `reportOf` are in its scope. */
export const BODY = `${SETUP}
  env.useBrowserCache = false;
  const names = await (await fetch('/models/names.json')).json();
${WRITE}`;

/** What it hands over. */
const RESULT = '{ text, others, claimed, left, threads }';

/**
 * ONNX Runtime's binary is fetched when a session needs it, sampling does not, and kept where Transformers.js keeps it. Nothing of the
 * model in floats is MSD's.
 */
export const LATER = `${BODY}
  const sampler = await pipeline('text-generation', 'story', { dtype: 'q4' });
  await sampler('${PROMPT}', { max_new_tokens: 4, do_sample: true, top_k: 5 });
  await sampler.dispose();
  env.useBrowserCache = true;
  const isFetched = () => performance.getEntriesByType('resource').some(({ name }) => name.endsWith('.wasm'));
  const isEarly = isFetched();
  const floats = await pipeline('text-generation', 'story', { dtype: 'fp32' });
  const [{ generated_text: other }] = await floats('${PROMPT}', { max_new_tokens: 4, do_sample: false });
  const cache = await caches.open(env.cacheKey);
  const kept = await cache.match('/ort/ort-wasm-simd-threaded.asyncify.wasm');
  const isRight = text.startsWith(other) && Object.keys(reportOf(floats)).length === 0;
  if (isEarly || !isFetched() || !kept || !isRight) throw new Error(JSON.stringify({ isEarly, kept: !!kept, other }));
`;

const moduleOf = (imports, body, hand) => `${imports}
(async () => {${body}
  return ${RESULT};
})()
  .catch((error) => ({ error: String(error) }))
  .then((result) => { ${hand}; });
`;

/** Says its result in the page's title. @param imports what puts the names of the body in scope */
export const pageModule = (imports, body = BODY) => moduleOf(imports, body, 'document.title = JSON.stringify(result)');

/** The same in a worker, which posts its result. */
export const workerModule = (imports, body = BODY) => moduleOf(imports, body, 'postMessage(result)');

/** The page of such a worker. */
export const WORKER_PAGE = `
const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
worker.onmessage = ({ data }) => { document.title = JSON.stringify(data); };
worker.onerror = ({ message }) => { document.title = JSON.stringify({ error: String(message) }); };
`;

/** The same in a service worker, which answers a message. */
export const serviceWorkerModule = (imports, body = BODY) => `${imports}
const work = async () => {${body}
  return ${RESULT};
};
addEventListener('message', (event) => {
  const answer = work().catch((error) => ({ error: String(error) }));
  event.waitUntil(answer.then((result) => event.source.postMessage(result)));
});
`;

/** The page that asks it. */
export const SERVICE_WORKER_PAGE = `
navigator.serviceWorker.onmessage = ({ data }) => { document.title = JSON.stringify(data); };
navigator.serviceWorker.startMessages();
await navigator.serviceWorker.register('./worker.js');
const { active } = await navigator.serviceWorker.ready;
active.postMessage('write');
`;

/** Imports of a page that is taken over by one line, and of one that is not. */
export const TAKEN = `import '@msd/onnx/transformers';
import { env, pipeline } from '@huggingface/transformers';
import { reportOf } from '@msd/onnx/transformers';`;
export const PLAIN = `import { env, pipeline } from '@huggingface/transformers';
const reportOf = undefined;`;
/** Of a page whose bundler puts MSD in place of onnxruntime-web. */
export const BY_ALIAS = `import { env, pipeline } from '@huggingface/transformers';
import { reportOf } from '@msd/onnx/register';`;

/** A module that throws while it is evaluated says so in the title, too. */
const ON_ERROR = `addEventListener('error', ({ message }) => { document.title = JSON.stringify({ error: message }); });`;

export const html = (scripts) =>
  `<!doctype html><meta charset="utf-8"><title></title><link rel="icon" href="data:,"><script>${ON_ERROR}</script>${scripts}`;
