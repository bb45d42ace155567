// A page that runs a language model with @msd/onnx as Transformers.js does: bytes in, a prompt, then a few tokens.
import * as ort from 'onnxruntime-web/wasm';
import { register, reportOf } from '../../../packages/onnx/dist/register.js';

const ids = (values, dims) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims);

async function tokens(session, prompt, steps) {
  let past = {};
  for (const { name, shape } of session.inputMetadata)
    if (name.startsWith('past'))
      past[name] = new ort.Tensor(
        'float32',
        [],
        shape.map((dim, i) => (typeof dim === 'number' ? dim : i === 0 ? 1 : 0)),
      );
  const chosen = [];
  let next = prompt;
  for (let length = prompt.length; chosen.length < steps; length++) {
    const feeds = { ...past, input_ids: ids(next, [1, next.length]) };
    const from = length - next.length;
    if (session.inputNames.includes('attention_mask')) feeds.attention_mask = ids(Array(length).fill(1), [1, length]);
    if (session.inputNames.includes('position_ids'))
      feeds.position_ids = ids(
        next.map((_, i) => from + i),
        [1, next.length],
      );
    const results = await session.run(feeds);
    past = {};
    for (const name of session.outputNames)
      if (name.startsWith('present')) past[name.replace('present', 'past_key_values')] = results[name];
    const { data, dims } = results.logits;
    const last = data.subarray(data.length - dims.at(-1));
    next = [last.indexOf(Math.max(...last))];
    chosen.push(next[0]);
  }
  return chosen;
}

/** @param url of a model @param options of the provider @param prompt tokens; absent: only the session is created */
globalThis.load = async (url, options, prompt, steps) => {
  register(ort);
  const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [{ name: 'msd', ...options }] });
  const chosen = prompt && (await tokens(session, prompt, steps));
  return { chosen, where: [...new Set(reportOf(session).nodes.map(({ where }) => where))] };
};
