/** The command line of `npm start`. */
import { parseArgs } from 'node:util';
import { UserError } from '../../../packages/cli/src/shared/errors.ts';

export const HELP = `npm start                                  the shipped story model, then real LLM layer shapes
npm start -- --prompt TEXT                 the same with your own beginning
npm start -- --model DIR --prompt TEXT     any local decoder in Hugging Face's layout

  --model DIR      folder with config.json, tokenizer.json and model_q4.onnx (there or in DIR/onnx)
  --prompt TEXT    what the text begins with
  --tokens N       tokens to write, at least 2; default 200, or what the model's context leaves
  --dtype NAME     which ONNX file: q4 (default), fp32, q8, int8, uint8, fp16, q4f16, bnb4
  --no-layers      leave out the table of layer shapes
  --help           this text
`;

export interface Options {
  readonly help: boolean;
  /** Absent = the shipped story model. */
  readonly model: string | undefined;
  readonly prompt: string | undefined;
  readonly tokens: number | undefined;
  readonly dtype: string | undefined;
  readonly layers: boolean;
}

/** @throws {@link UserError} for unknown options and values out of range. */
export function parseOptions(args: readonly string[]): Options {
  const values = parse(args);
  const tokens = values.tokens === undefined ? undefined : Number(values.tokens);
  if (tokens !== undefined && !(Number.isSafeInteger(tokens) && tokens >= 2)) {
    throw new UserError(`--tokens: expected an integer of at least 2, got ${values.tokens}.`);
  }
  const { help = false, model, prompt, dtype } = values;
  return { help, model, prompt, tokens, dtype, layers: model === undefined && values['no-layers'] !== true };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        model: { type: 'string' },
        prompt: { type: 'string' },
        tokens: { type: 'string' },
        dtype: { type: 'string' },
        'no-layers': { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (cause) {
    throw new UserError(`${(cause as Error).message}\n\n${HELP}`, { cause });
  }
}
