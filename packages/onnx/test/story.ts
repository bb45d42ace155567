/** The shipped story model as ONNX, and its prompts as tokens. */
import { readFileSync } from 'node:fs';
import { type ModelSpec, writeModel } from '@msd/onnx/write'; // the example's own
import { FILES } from '../../../examples/story-model/src/files.ts';
import { CONFIG } from '../../../examples/story-model/src/model.ts';
import { decoderGraph } from '../../../examples/story-model/src/onnx-graph.ts';
import { PROMPTS } from '../../../examples/story-model/src/prompts.ts';
import { quantizedLinears } from '../../../examples/story-model/src/quantize.ts';
import { readSafetensors } from '../../../examples/story-model/src/safetensors.ts';
import { START_ID, Vocabulary } from '../../../examples/story-model/src/words.ts';

export { CONFIG };

export const storyModel = (dtype: 'q4' | 'fp32'): Uint8Array => writeModel(storySpec(dtype));

/** What {@link storyModel} writes. */
export function storySpec(dtype: 'q4' | 'fp32'): ModelSpec {
  const { weights } = readSafetensors(readFileSync(FILES.weights));
  return decoderGraph(CONFIG, weights, dtype === 'q4' ? quantizedLinears(weights) : undefined);
}

/** The same with an open last size of caches, as onnxruntime-genai writes it. */
export function openStoryModel(): Uint8Array {
  const { graph, ...spec } = storySpec('q4');
  const opened = (values: ModelSpec['graph']['inputs']) =>
    values.map((each) =>
      /^(past|present)/.test(each.name) ? { ...each, dims: each.dims!.with(3, 'kv_cache_dim') } : each,
    );
  return writeModel({ ...spec, graph: { ...graph, inputs: opened(graph.inputs), outputs: opened(graph.outputs) } });
}

export const storyPrompts = (): number[][] => storyTokens(PROMPTS);

/** Texts as the model reads them. */
export function storyTokens(texts: readonly string[]): number[][] {
  const { model } = JSON.parse(readFileSync(FILES.tokenizer, 'utf8')) as { model: { vocab: Record<string, number> } };
  const words = Object.entries(model.vocab).sort(([, a], [, b]) => a - b);
  const vocabulary = new Vocabulary(words.map(([word]) => word));
  return texts.map((text) => [START_ID, ...vocabulary.encode(text)]);
}
