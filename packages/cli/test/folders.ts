/** Model folders for tests: the shipped story model, and small encoders with its tokenizer. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gaussian as normal, random as seededRandom } from '@msd/core/numerics';
import { type NodeSpec, type TensorSpec, writeModel } from '@msd/onnx/write';
import { FILES } from '../../../examples/story-model/src/files.ts';
import { CONFIG } from '../../../examples/story-model/src/model.ts';
import { writeModelFolder } from '../../../examples/story-model/src/model-files.ts';

/** A folder of its own that goes with `remove`. */
export function temporaryFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'msd-cli-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** The story model, as Transformers.js has models: fp32 and q4. */
export function storyFolder(path: string): string {
  writeModelFolder(pathToFileURL(`${path}/`));
  return path;
}

const WIDTH = 32;

/** ids -> rows of a table -> `tail`, an encoder whose tokenizer is the story model's. */
function encoderFolder(
  path: string,
  tail: (rows: string) => {
    nodes: readonly NodeSpec[];
    initializers?: readonly TensorSpec[];
    output: string;
    dims: readonly (string | number)[];
  },
  config: object = {},
  tokenizerConfig: object = {},
): string {
  const random = seededRandom(3);
  const floats = (count: number): Float32Array => Float32Array.from({ length: count }, () => normal(random));
  const { nodes, initializers = [], output, dims } = tail('rows');
  const bytes = writeModel({
    graph: {
      nodes: [{ opType: 'Gather', inputs: ['table', 'input_ids'], outputs: ['rows'] }, ...nodes],
      initializers: [
        { name: 'table', dtype: 'float32', dims: [CONFIG.vocabSize, WIDTH], data: floats(CONFIG.vocabSize * WIDTH) },
        ...initializers,
      ],
      inputs: ['input_ids', 'attention_mask'].map((name) => ({
        name,
        dtype: 'int64',
        dims: ['batch_size', 'sequence_length'],
      })),
      outputs: [{ name: output, dtype: 'float32', dims }],
    },
  });
  mkdirSync(join(path, 'onnx'), { recursive: true });
  writeFileSync(join(path, 'onnx', 'model.onnx'), bytes);
  writeFileSync(join(path, 'config.json'), JSON.stringify(config));
  writeFileSync(join(path, 'tokenizer.json'), readFileSync(FILES.tokenizer));
  const own = JSON.parse(readFileSync(FILES.tokenizerConfig, 'utf8')) as object;
  writeFileSync(join(path, 'tokenizer_config.json'), JSON.stringify({ ...own, ...tokenizerConfig }));
  return path;
}

/** Its output is a vector for each token. */
export function embeddingFolder(path: string): string {
  return encoderFolder(path, (rows) => ({
    nodes: [{ opType: 'Relu', inputs: [rows], outputs: ['last_hidden_state'] }],
    output: 'last_hidden_state',
    dims: ['batch_size', 'sequence_length', WIDTH],
  }));
}

/** Its output is a number for each of two labels. */
export function labelFolder(path: string): string {
  return encoderFolder(
    path,
    (rows) => ({
      nodes: [
        { opType: 'ReduceMean', inputs: [rows, 'axes'], outputs: ['mean'], attributes: { keepdims: { int: 0 } } },
        { opType: 'MatMul', inputs: ['mean', 'w'], outputs: ['logits'] },
      ],
      initializers: [
        { name: 'axes', dtype: 'int64', dims: [1], data: BigInt64Array.of(1n) },
        {
          name: 'w',
          dtype: 'float32',
          dims: [WIDTH, 2],
          data: Float32Array.from({ length: 2 * WIDTH }, (_, i) => (i % 2 ? 1 : -1)),
        },
      ],
      output: 'logits',
      dims: ['batch_size', 2],
    }),
    { id2label: { 0: 'sad', 1: 'happy' } },
  );
}

/** Its output is a number for each word at each token. @param maskToken what it fills in */
export function wordFolder(path: string, maskToken?: string): string {
  return encoderFolder(
    path,
    (rows) => ({
      nodes: [{ opType: 'MatMul', inputs: [rows, 'w'], outputs: ['logits'] }],
      initializers: [
        {
          name: 'w',
          dtype: 'float32',
          dims: [WIDTH, CONFIG.vocabSize],
          data: Float32Array.from({ length: WIDTH * CONFIG.vocabSize }, (_, i) => ((i * 7) % 11) / 11 - 0.5),
        },
      ],
      output: 'logits',
      dims: ['batch_size', 'sequence_length', CONFIG.vocabSize],
    }),
    {},
    maskToken === undefined ? {} : { mask_token: maskToken },
  );
}
