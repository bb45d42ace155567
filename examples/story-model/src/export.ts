/**
 * Builds generated/, a Hugging Face model folder, from the trained weights in model/: `node src/export.ts`.
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
import { CONFIG, type Weights } from './model.ts';
import { decoderGraph } from './onnx-graph.ts';
import { quantizedLinears } from './quantize.ts';
import { readSafetensors } from './safetensors.ts';

const FOLDER = new URL('../generated/', import.meta.url);

/** @throws {@link RangeError} when model/config.json does not describe the architecture of model.ts. */
function checkConfig(): void {
  const stored: unknown = JSON.parse(readFileSync(FILES.config, 'utf8'));
  const expected: unknown = JSON.parse(JSON.stringify(llamaConfig(CONFIG)));
  if (!isDeepStrictEqual(stored, expected)) {
    throw new RangeError('export: model/config.json is not the configuration in src/model.ts. Train the model again.');
  }
}

function exportModel(weights: Weights): void {
  mkdirSync(new URL('onnx/', FOLDER), { recursive: true });
  const models = {
    'onnx/model.onnx': decoderGraph(CONFIG, weights),
    'onnx/model_q4.onnx': decoderGraph(CONFIG, weights, quantizedLinears(weights)),
  };
  for (const [name, model] of Object.entries(models)) {
    const bytes = writeModel(model);
    writeFileSync(new URL(name, FOLDER), bytes);
    console.log(`generated/${name}  ${(bytes.length / 1e6).toFixed(2)} MB`);
  }
  for (const file of [FILES.config, FILES.generationConfig, FILES.tokenizer, FILES.tokenizerConfig]) {
    copyFileSync(file, new URL(basename(fileURLToPath(file)), FOLDER));
  }
}

checkConfig();
exportModel(readSafetensors(readFileSync(FILES.weights)).weights);
