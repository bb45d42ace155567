/**
 * Writes the trained model as a Hugging Face folder:
 *
 *   onnx/model.onnx       fp32
 *   onnx/model_q4.onnx    linear layers in int4, blocks of 32
 *   config.json  generation_config.json  tokenizer.json  tokenizer_config.json
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { writeModel } from '@msd/onnx/write';
import { FILES } from './files.ts';
import { llamaConfig } from './hugging-face.ts';
import { CONFIG } from './model.ts';
import { decoderGraph } from './onnx-graph.ts';
import { quantizedLinears } from './quantize.ts';
import { readSafetensors } from './safetensors.ts';

/**
 * @param folder with a slash at its end; made if it does not exist
 * @returns the ONNX files' names in the folder and their sizes in bytes
 * @throws {@link RangeError} when model/config.json does not describe the architecture in model.ts.
 */
export function writeModelFolder(folder: URL): ReadonlyMap<string, number> {
  const stored: unknown = JSON.parse(readFileSync(FILES.config, 'utf8'));
  if (!isDeepStrictEqual(stored, llamaConfig(CONFIG))) {
    throw new RangeError(
      'writeModelFolder: model/config.json is not the configuration in src/model.ts. Train the model again.',
    );
  }
  const { weights } = readSafetensors(readFileSync(FILES.weights));
  const models = {
    'onnx/model.onnx': decoderGraph(CONFIG, weights),
    'onnx/model_q4.onnx': decoderGraph(CONFIG, weights, quantizedLinears(weights)),
  };
  mkdirSync(new URL('onnx/', folder), { recursive: true });
  const sizes = new Map<string, number>();
  for (const [name, model] of Object.entries(models)) {
    const bytes = writeModel(model);
    writeFileSync(new URL(name, folder), bytes);
    sizes.set(name, bytes.length);
  }
  for (const file of [FILES.config, FILES.generationConfig, FILES.tokenizer, FILES.tokenizerConfig]) {
    copyFileSync(file, new URL(basename(fileURLToPath(file)), folder));
  }
  return sizes;
}
