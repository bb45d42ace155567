// What every page of the Transformers.js checks does: the story model writes one text, greedily, and the page hands over the text and
// what MSD says it did. Plain Transformers.js is the same page without MSD.

/** Tokens that a page writes: enough for the caches of keys and values to matter. */
const TOKENS = 48;
export const PROMPT = 'Once upon a time';

/** The body of a module. `pipeline`, `env` and `reportOf` are in its scope. */
export const BODY = `
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = '/models/';
  env.useBrowserCache = false;
  if (env.backends.onnx.wasm.wasmPaths?.wasm) {
    env.backends.onnx.wasm.wasmPaths = {
      mjs: '/ort/ort-wasm-simd-threaded.asyncify.mjs',
      wasm: '/ort/ort-wasm-simd-threaded.asyncify.wasm',
    };
  }
  const write = await pipeline('text-generation', 'story', { dtype: 'q4' });
  const [{ generated_text: text }] = await write('${PROMPT}', { max_new_tokens: ${TOKENS}, do_sample: false });
  const reports = Object.entries(reportOf?.(write) ?? {});
  const claimed = Object.fromEntries(
    reports.map(([name, { nodes }]) => [name, nodes.filter(({ where }) => where === 'msd').length]),
  );
  await write.dispose();
  const left = reports.length && Object.values(reportOf(write)).some(({ memory }) => memory.wasmBytes > 0);
`;

/** Reports to whoever opened the page. @param imports what puts the names of BODY in scope */
export const pageModule = (imports) => `${imports}
(async () => {${BODY}
  return { text, claimed, left };
})().then(
  (result) => { document.title = JSON.stringify(result); },
  (error) => { document.title = JSON.stringify({ error: String(error) }); },
);
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

export const html = (scripts) =>
  `<!doctype html><meta charset="utf-8"><title></title><link rel="icon" href="data:,">${scripts}`;
