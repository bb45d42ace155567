/** The texts and logits that both engines are compared with: float activations on the very same weights. */
import { readFileSync } from 'node:fs';
import type { DecoderSession } from '../../../packages/cli/src/run/decoder.ts';
import type { ReferenceText } from './compare.ts';
import { FILES } from './files.ts';
import { argMax, Decoder } from './forward.ts';
import { CONFIG } from './model.ts';
import { quantizedWeights } from './quantize.ts';
import { readSafetensors } from './safetensors.ts';

/** Greedy text of any source of logits. */
async function greedyReference(
  read: (ids: readonly number[]) => Float32Array | Promise<Float32Array>,
  prompt: readonly number[],
  count: number,
): Promise<ReferenceText> {
  const ids: number[] = [];
  const logits: Float32Array[] = [];
  let input = prompt;
  while (ids.length < count) {
    const values = (await read(input)).slice();
    const id = argMax(values);
    logits.push(values);
    ids.push(id);
    input = [id];
  }
  return { ids, logits };
}

/** The story model as plain loops over dequantized weights: every sum in float64, float32 in between. */
export function storyReference(): (prompt: readonly number[], count: number) => Promise<ReferenceText> {
  const { weights } = readSafetensors(readFileSync(FILES.weights));
  const decoder = new Decoder(CONFIG, quantizedWeights(weights));
  return (prompt, count) => {
    decoder.reset();
    const read = (ids: readonly number[]): Float32Array => ids.map((id) => decoder.step(id)).at(-1) as Float32Array;
    return greedyReference(read, prompt, count);
  };
}

/** A session's own text: plain onnxruntime-web computes with float32 activations. */
export function sessionReference(
  decoder: DecoderSession,
): (prompt: readonly number[], count: number) => Promise<ReferenceText> {
  return (prompt, count) => {
    decoder.reset();
    return greedyReference((ids) => decoder.read(ids), prompt, count);
  };
}
