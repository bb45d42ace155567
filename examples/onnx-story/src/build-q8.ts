/** Writes the story model once more, in the `q8` form of the hub: `node src/build-q8.ts`. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { writeModel } from '@msd/onnx/write';
import { FILES } from '../../story-model/src/files.ts';
import { CONFIG } from '../../story-model/src/model.ts';
import { decoderGraph } from '../../story-model/src/onnx-graph.ts';
import { readSafetensors } from '../../story-model/src/safetensors.ts';
import { dynamicQ8 } from './dynamic-q8.ts';

const file = new URL('../generated/story/model_quantized.onnx', import.meta.url);
const bytes = writeModel(dynamicQ8(decoderGraph(CONFIG, readSafetensors(readFileSync(FILES.weights)).weights)));
mkdirSync(new URL('.', file), { recursive: true });
writeFileSync(file, bytes);
console.log(`generated/story/model_quantized.onnx  ${(bytes.length / 1e6).toFixed(2)} MB`);
