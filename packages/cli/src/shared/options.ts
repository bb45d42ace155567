/** Options that several commands have. */
import { MAX_THREADS } from '@msd/core';
import { type Command, InvalidArgumentError } from 'commander';

/** Which of a model's files is meant. */
export interface ModelOptions {
  readonly dtype?: string;
  readonly module?: string;
}

export function modelOptions(command: Command): Command {
  return command
    .argument(
      '<model>',
      "an .onnx file, a folder in Transformers.js' layout, a URL, or a model of the hub (organisation/name)",
    )
    .option('--dtype <name>', 'which of its files: fp32, fp16, q8, q4, q4f16, …')
    .option('--module <name>', 'which of its models: encoder_model, decoder_model_merged, …');
}

/** A whole number from 1 on. */
export function atLeastOne(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('Expected a whole number of at least 1.');
  return value;
}

/** `auto`, or a number of threads. */
export function threadCount(text: string): number | 'auto' {
  if (text === 'auto') return text;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1 && value <= MAX_THREADS) return value;
  throw new InvalidArgumentError(`Expected auto, or 1 to ${MAX_THREADS}.`);
}
