/**
 * Which programming language is it? VS Code's classifier, whose weights are a uint8 manifest: stock tfjs expands them to
 * floats when it loads them, MSD keeps them as they are in the file.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { loadGraphModel, type ModelReport, register, reportOf } from '@msd/tfjs';
import type { GraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';

const require = createRequire(import.meta.url);
const MODEL = join(dirname(require.resolve('@vscode/vscode-languagedetection/package.json')), 'model', 'model.json');

/** Stock tfjs 4.22 cannot run the model's loop over texts: what the loop makes of a text, its bigrams, is fed behind it. */
const BIGRAMS = 'map/TensorArrayV2Stack/TensorListStack';
const SLOTS = 10_000;

export interface Guess {
  /** As the model names it: ts, py, rs, … */
  readonly language: string;
  readonly probability: number;
}

/** An IOHandler over files; tfjs has one only in its native Node package. */
const files: tf.io.IOHandler = {
  async load() {
    const json = JSON.parse(await readFile(MODEL, 'utf8'));
    const groups = json.weightsManifest as { paths: string[]; weights: tf.io.WeightsManifestEntry[] }[];
    const shards = groups.flatMap(({ paths }) => paths).map((path) => readFile(join(dirname(MODEL), path)));
    const { buffer, byteOffset, byteLength } = Buffer.concat(await Promise.all(shards));
    const weightData = buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
    return { ...json, weightSpecs: groups.flatMap(({ weights }) => weights), weightData };
  },
};

export class LanguageClassifier {
  readonly #model: GraphModel;

  private constructor(model: GraphModel) {
    this.#model = model;
  }

  static async load(): Promise<LanguageClassifier> {
    await tf.setBackend('cpu'); // the wasm backend has no kernel for comparing strings
    register(tf);
    return new LanguageClassifier(await loadGraphModel(files));
  }

  get report(): ModelReport {
    return reportOf(this.#model)!;
  }

  /** @returns the most likely languages first */
  async classify(text: string, count = 3): Promise<Guess[]> {
    const characters = [...text.replaceAll('\r\n', '\n')];
    const bigrams = Array.from({ length: SLOTS }, (_, i) =>
      i + 1 < characters.length ? `${characters[i]} ${characters[i + 1]}` : '',
    );
    const input = tf.tensor2d([bigrams], [1, SLOTS], 'string');
    const outputs = ['head/predictions/probabilities', 'head/Tile'];
    const [probabilities, names] = (await this.#model.executeAsync({ [BIGRAMS]: input }, outputs)) as tf.Tensor[];
    const languages = names!.dataSync<'string'>();
    const guesses = Array.from(probabilities!.dataSync(), (probability, i) => ({
      language: languages[i]!,
      probability,
    }));
    tf.dispose([input, probabilities!, names!]);
    return guesses.sort((a, b) => b.probability - a.probability).slice(0, count);
  }

  dispose(): void {
    this.#model.dispose();
  }
}
