/** A decoder on disk in Hugging Face's layout: config.json, tokenizer.json and ONNX files. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { UserError } from '../../../packages/cli/src/shared/errors.ts';
import { DTYPE_ENDINGS } from '../../../packages/cli/src/shared/layout.ts';

const DEFAULT_DTYPE = 'q4';

/** What running a decoder takes to know; sizes as in config.json. */
export interface DecoderConfig {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabSize: number;
  /** Longest sequence, prompt included. */
  readonly context: number;
  /** Tokens that end a text. */
  readonly endIds: readonly number[];
}

export interface ModelFolder {
  /** The ONNX file. */
  readonly model: string;
  /** Its external data files, as ONNX Runtime Web takes them; empty for models in one file. */
  readonly externalData: ReadonlyArray<{ readonly path: string; readonly data: string }>;
  readonly config: DecoderConfig;
  readonly tokenizer: Tokenizer;
}

/**
 * Opens a model folder; weights stay on disk.
 *
 * @param dtype which of the ONNX files; default: q4, or the only one there is
 * @throws {@link UserError} saying what is missing.
 */
export function openModelFolder(folder: string, dtype?: string): ModelFolder {
  if (!existsSync(folder)) throw new UserError(`--model: ${folder} does not exist. Pass a model's folder.`);
  if (!statSync(folder).isDirectory()) {
    throw new UserError(`--model: expected a folder with config.json, tokenizer.json and ONNX files, got ${folder}.`);
  }
  const model = findModel(folder, dtype);
  const parts = readdirSync(dirname(model)).filter((name) => name.startsWith(`${basename(model)}_data`));
  return {
    model,
    externalData: parts.map((path) => ({ path, data: join(dirname(model), path) })),
    config: readConfig(folder),
    tokenizer: readTokenizer(folder),
  };
}

function findModel(folder: string, dtype: string | undefined): string {
  const suffix = DTYPE_ENDINGS[dtype ?? DEFAULT_DTYPE];
  if (suffix === undefined) {
    throw new UserError(`--dtype: expected one of ${Object.keys(DTYPE_ENDINGS).join(', ')}, got ${dtype}.`);
  }
  const present = [join(folder, 'onnx'), folder].flatMap((directory) =>
    existsSync(directory)
      ? readdirSync(directory)
          .filter((name) => name.endsWith('.onnx'))
          .map((name) => join(directory, name))
      : [],
  );
  const wanted = present.find((path) => basename(path) === `model${suffix}.onnx`);
  if (wanted !== undefined) return wanted;
  const [only, ...others] = present;
  if (only === undefined) {
    throw new UserError(`--model: expected .onnx files in ${folder} or its folder onnx, found none.`);
  }
  if (dtype === undefined && others.length === 0) return only;
  throw new UserError(
    `--model: expected model${suffix}.onnx in ${folder}, found ${present.map((path) => basename(path)).join(', ')}. ` +
      'Choose one with --dtype.',
  );
}

function readJson(folder: string, name: string): Record<string, unknown> {
  const path = join(folder, name);
  if (!existsSync(path)) throw new UserError(`--model: ${folder} has no ${name}.`);
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch (cause) {
    throw new UserError(`--model: ${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
  throw new UserError(`--model: ${path} expected a JSON object.`);
}

function readOptionalJson(folder: string, name: string): Record<string, unknown> {
  return existsSync(join(folder, name)) ? readJson(folder, name) : {};
}

function readConfig(folder: string): DecoderConfig {
  const config = readJson(folder, 'config.json');
  const generation = readOptionalJson(folder, 'generation_config.json');
  const size = (name: string, otherwise?: number): number => {
    const value = config[name] ?? otherwise;
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    throw new UserError(`--model: ${join(folder, 'config.json')}: ${name} expected a positive integer, got ${value}.`);
  };
  const heads = size('num_attention_heads');
  return {
    layers: size('num_hidden_layers'),
    kvHeads: size('num_key_value_heads', heads),
    headDim: size('head_dim', Number(config.hidden_size) / heads),
    vocabSize: size('vocab_size'),
    context: size('max_position_embeddings'),
    endIds: [generation.eos_token_id ?? config.eos_token_id]
      .flat()
      .filter((id): id is number => Number.isSafeInteger(id)),
  };
}

function readTokenizer(folder: string): Tokenizer {
  const tokenizer = readJson(folder, 'tokenizer.json');
  const config = readOptionalJson(folder, 'tokenizer_config.json');
  try {
    return new Tokenizer(tokenizer, config);
  } catch (cause) {
    throw new UserError(`--model: ${join(folder, 'tokenizer.json')}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * The tokens of a prompt.
 *
 * @throws {@link UserError} when there are none, or too many to leave room for `count` new ones.
 */
export function encodePrompt({ tokenizer, config }: ModelFolder, prompt: string, count: number): number[] {
  const { ids } = tokenizer.encode(prompt);
  if (ids.length === 0) throw new UserError('--prompt: it has no tokens. Write a few words.');
  const unknown = ids.find((id) => id >= config.vocabSize);
  if (unknown !== undefined) {
    throw new UserError(
      `--model: tokenizer.json gives token ${unknown}, config.json has a vocabulary of ${config.vocabSize}. Do they belong together?`,
    );
  }
  if (ids.length + count > config.context) {
    throw new UserError(
      `--tokens: the prompt's ${ids.length} tokens and ${count} new ones exceed the model's context of ${config.context}. ` +
        `Ask for at most ${Math.max(0, config.context - ids.length)}, or shorten the prompt.`,
    );
  }
  return ids;
}
