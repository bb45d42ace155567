/** Between text and tokens: the tokenizer of a model, its chat template, and what its config files say. */
import { Template } from '@huggingface/jinja';
import { Tokenizer } from '@huggingface/tokenizers';
import { messageOf, UserError } from '../shared/errors.ts';
import type { Located } from '../shared/locate.ts';

type Json = Readonly<Record<string, unknown>>;

/** A model's text side. */
export interface ModelText {
  readonly tokenizer: Tokenizer;
  readonly config: Json;
  /** Longest sequence, prompt included. */
  readonly context: number;
  /** Tokens that end a text. */
  readonly endIds: readonly number[];
  /** What an encoder-decoder's answer begins with. */
  readonly startId: number | undefined;
  /** As the model wants to be asked; absent for models that only go on with a text. */
  readonly chat: ((messages: readonly Message[]) => string) | undefined;
  /** The token of fill-in tasks. */
  readonly maskToken: string | undefined;
}

export interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** Of models that do not say how many tokens they can read. */
const USUAL_CONTEXT = 2048;

/** @throws {@link UserError} when a file is missing or none of its kind */
export async function readModelText(located: Located): Promise<ModelText> {
  const config = await readJson(located, 'config.json', true);
  const generation = await readJson(located, 'generation_config.json', false);
  const tokenizerConfig = await readJson(located, 'tokenizer_config.json', false);
  const tokenizer = await openTokenizer(located, tokenizerConfig);
  const inner = (config.text_config ?? config.llm_config ?? config) as Json;
  const context = firstNumber(inner.max_position_embeddings, inner.n_positions, inner.n_ctx, inner.max_seq_len);
  const template = (await located.readText('chat_template.jinja')) ?? templateOf(tokenizerConfig.chat_template);
  return {
    tokenizer,
    config,
    context: context ?? USUAL_CONTEXT,
    endIds: [generation.eos_token_id ?? inner.eos_token_id ?? config.eos_token_id].flat().filter(isId),
    startId: [generation.decoder_start_token_id ?? config.decoder_start_token_id].filter(isId)[0],
    chat: template === undefined ? undefined : chatOf(located.asked, template, tokenizerConfig),
    maskToken: tokenText(tokenizerConfig.mask_token),
  };
}

const isId = (id: unknown): id is number => Number.isSafeInteger(id);

function firstNumber(...values: readonly unknown[]): number | undefined {
  return values.find((value): value is number => isId(value) && value > 0);
}

/** The JSON object of a file. */
export async function readJson(located: Located, name: string, isNeeded: boolean): Promise<Json> {
  const text = await located.readText(name);
  if (text === undefined) {
    if (!isNeeded) return {};
    throw new UserError(
      `${located.asked} has no ${name}. Pass a folder with config.json, tokenizer.json and onnx/*.onnx.`,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new UserError(`${located.asked}: ${name} is not JSON: ${messageOf(cause)}`, { cause });
  }
  if (typeof value === 'object' && value !== null) return value as Json;
  throw new UserError(
    `${located.asked}: ${name} expected a JSON object, got ${value === null ? 'null' : typeof value}.`,
  );
}

async function openTokenizer(located: Located, config: Json): Promise<Tokenizer> {
  const json = await readJson(located, 'tokenizer.json', true);
  try {
    return new Tokenizer(json, config);
  } catch (cause) {
    throw new UserError(`${located.asked}: tokenizer.json cannot be used: ${messageOf(cause)}`, { cause });
  }
}

/** Some models have several, by name. */
function templateOf(template: unknown): string | undefined {
  if (typeof template === 'string') return template;
  if (!Array.isArray(template)) return undefined;
  const named = template as readonly { readonly name?: string; readonly template?: string }[];
  return (named.find(({ name }) => name === 'default') ?? named[0])?.template;
}

function tokenText(token: unknown): string | undefined {
  if (typeof token === 'string') return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : undefined;
}

function chatOf(asked: string, text: string, config: Json): NonNullable<ModelText['chat']> {
  const tokens = Object.fromEntries(
    Object.entries(config).flatMap(([name, token]) => {
      const content = name.endsWith('_token') ? tokenText(token) : undefined;
      return content === undefined ? [] : [[name, content]];
    }),
  );
  return (messages) => {
    try {
      return new Template(text).render({ ...tokens, messages, add_generation_prompt: true });
    } catch (cause) {
      throw new UserError(
        `${asked}: its chat template cannot be used: ${messageOf(cause)} Add --raw to leave it out.`,
        {
          cause,
        },
      );
    }
  };
}

/**
 * The tokens of a prompt.
 *
 * @param isWhole it has its special tokens already, from a chat template
 * @throws {@link UserError} when there are none, or too many to leave room for `count` new ones.
 */
export function encodePrompt(
  { tokenizer, context }: Pick<ModelText, 'tokenizer' | 'context'>,
  prompt: string,
  count: number,
  isWhole = false,
): number[] {
  const { ids } = tokenizer.encode(prompt, { add_special_tokens: !isWhole });
  if (ids.length === 0) throw new UserError('--prompt: it has no tokens. Write a few words.');
  if (ids.length + count > context) {
    throw new UserError(
      `--tokens: the prompt's ${ids.length} tokens and ${count} new ones exceed the model's context of ${context}. ` +
        `Ask for at most ${Math.max(0, context - ids.length)}, or shorten the prompt.`,
    );
  }
  return ids;
}
