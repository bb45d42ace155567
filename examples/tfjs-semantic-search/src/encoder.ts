/** The Universal Sentence Encoder on plain tfjs or on MSD: sentences in, unit vectors of 512 out. */
import { formatReport, loadGraphModel, register, reportOf } from '@msd/tfjs';
import type * as converter from '@tensorflow/tfjs-converter';
import type * as tfc from '@tensorflow/tfjs-core';
import type { Side } from '../../shared/search/protocol.ts';
import type { Encoder as SentenceEncoder } from '../../shared/search/serve.ts';
import type { LoadOptions, Memory } from './protocol.ts';
import { Tokenizer, type Vocabulary } from './tokenizer.ts';

export class Encoder implements SentenceEncoder<Memory> {
  readonly width = 512;
  readonly #tf: typeof tfc;
  readonly #model: converter.GraphModel;
  readonly #tokenizer: Tokenizer;
  readonly #heapBefore: number;

  private constructor(tf: typeof tfc, model: converter.GraphModel, tokenizer: Tokenizer, heapBefore: number) {
    this.#tf = tf;
    this.#model = model;
    this.#tokenizer = tokenizer;
    this.#heapBefore = heapBefore;
  }

  /** The only difference between the two sides is which `loadGraphModel` runs. */
  static async load(
    tf: typeof tfc,
    { loadGraphModel: loadStock }: Pick<typeof converter, 'loadGraphModel'>,
    side: Side,
    { backend, format, base }: LoadOptions,
  ): Promise<Encoder> {
    await tf.setBackend(backend);
    await tf.ready();
    const heapBefore = heapBytes(tf);
    const folder = `${base}model`;
    if (side === 'msd') register(tf);
    const load = side === 'msd' ? (url: string) => loadGraphModel(url, { format }) : loadStock;
    const [model, vocabulary] = await Promise.all([
      load(`${folder}/model.json`),
      fetch(`${folder}/vocab.json`).then((response) => response.json() as Promise<Vocabulary>),
    ]);
    return new Encoder(tf, model, new Tokenizer(vocabulary), heapBefore);
  }

  /** @returns [sentences, 512], one row after the other; an empty sentence counts as one unknown token */
  async embed(sentences: readonly string[]): Promise<Float32Array> {
    const tf = this.#tf;
    const ids = sentences.map((sentence) => {
      const tokens = this.#tokenizer.encode(sentence);
      return tokens.length ? tokens : [0];
    });
    const positions = ids.flatMap((tokens, row) => tokens.map((_, column) => [row, column]));
    const inputs = {
      indices: tf.tensor2d(positions, [positions.length, 2], 'int32'),
      values: tf.tensor1d(ids.flat(), 'int32'),
    };
    try {
      const output = (await this.#model.executeAsync(inputs)) as tfc.Tensor;
      const values = (await output.data()) as Float32Array;
      output.dispose();
      return values;
    } finally {
      tf.dispose(inputs);
    }
  }

  costs(): Memory {
    const { artifacts } = this.#model as unknown as { artifacts: object };
    // MSD leaves a getter there, which reads the tensors when somebody saves.
    const data = Object.getOwnPropertyDescriptor(artifacts, 'weightData')?.value as
      | ArrayBuffer
      | ArrayBuffer[]
      | undefined;
    return {
      tensors: this.#tf.memory().numBytes,
      heap: heapBytes(this.#tf) - this.#heapBefore,
      files: [data ?? []].flat().reduce((sum, { byteLength }) => sum + byteLength, 0),
    };
  }

  /** What MSD did to the graph; empty for the stock side. */
  get report(): string {
    const report = reportOf(this.#model);
    return report ? formatReport(report) : '';
  }
}

function heapBytes(tf: typeof tfc): number {
  const { wasm } = tf.backend() as unknown as { wasm?: { HEAPU8: Uint8Array } };
  return wasm?.HEAPU8.length ?? 0;
}
