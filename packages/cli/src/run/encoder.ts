/** What models that write nothing say of a text: a vector, labels, or the words behind a mask. */
import { type InferenceSession, Tensor } from 'onnxruntime-web';
import { UserError } from '../shared/errors.ts';
import { floatsOfTensor } from './floats.ts';
import type { ModelText } from './model-text.ts';

/** Of one text. */
export type Answer =
  | { readonly kind: 'embedding'; readonly vector: Float32Array }
  | { readonly kind: 'labels' | 'words'; readonly best: readonly { readonly name: string; readonly share: number }[] };

export interface Encoded {
  readonly text: string;
  readonly tokens: number;
  readonly ms: number;
  readonly answer: Answer;
}

const SHOWN = 5;
const VECTORS = ['sentence_embedding', 'token_embeddings', 'last_hidden_state', 'text_embeds', 'embeddings'];

/** Runs a text through an encoder. */
export async function encode(session: InferenceSession, model: ModelText, text: string): Promise<Encoded> {
  const { ids, feeds } = textFeeds(session, model, text);
  const start = performance.now();
  const outputs = await session.run(feeds);
  const ms = performance.now() - start;
  return { text, tokens: ids.length, ms, answer: answerOf(outputs, model, ids) };
}

/** Inputs of a text. @throws {@link UserError} when the model wants something else */
export function textFeeds(session: InferenceSession, { tokenizer }: Pick<ModelText, 'tokenizer'>, text: string) {
  const { ids, attention_mask: mask } = tokenizer.encode(text);
  const dims = [1, ids.length];
  const integers = (values: readonly number[]): Tensor => new Tensor('int64', BigInt64Array.from(values, BigInt), dims);
  const feeds: Record<string, Tensor> = {};
  for (const name of session.inputNames) {
    if (name === 'input_ids') feeds[name] = integers(ids);
    else if (name === 'attention_mask') feeds[name] = integers(mask);
    else if (name === 'token_type_ids') feeds[name] = integers(ids.map(() => 0));
    else if (name === 'position_ids') feeds[name] = integers(ids.map((_, i) => i));
    else
      throw new UserError(
        `msd run writes and embeds text, and this model takes ${name}. Use msd inspect to see what MSD does with it.`,
      );
  }
  return { ids, feeds };
}

function answerOf(outputs: InferenceSession.ReturnType, model: ModelText, ids: readonly number[]): Answer {
  const { logits } = outputs as Record<string, Tensor>;
  if (logits) return logits.dims.length === 3 ? wordsOf(logits, model, ids) : labelsOf(logits, model);
  const name = VECTORS.find((each) => each in outputs) ?? Object.keys(outputs)[0]!;
  const tensor = outputs[name] as Tensor;
  if (!tensor.type.startsWith('float'))
    throw new UserError(`The model's output ${name} is ${tensor.type}: expected a vector, labels or words.`);
  return { kind: 'embedding', vector: pooled(tensor) };
}

/** The mean over positions, of length 1. */
function pooled(tensor: Tensor): Float32Array {
  const values = floatsOfTensor(tensor);
  const width = tensor.dims.at(-1)!;
  const mean = new Float32Array(width);
  for (let i = 0; i < values.length; i++) mean[i % width]! += values[i]!;
  const norm = Math.hypot(...mean) || 1;
  return mean.map((value) => value / norm);
}

function labelsOf(logits: Tensor, { config }: ModelText): Answer {
  const names = (config.id2label ?? {}) as Readonly<Record<string, string>>;
  return { kind: 'labels', best: bestOf(floatsOfTensor(logits), (id) => names[id] ?? `LABEL_${id}`) };
}

function wordsOf(logits: Tensor, { tokenizer, maskToken }: ModelText, ids: readonly number[]): Answer {
  const mask = maskToken === undefined ? undefined : tokenizer.token_to_id(maskToken);
  const at = mask === undefined ? -1 : ids.indexOf(mask);
  if (at < 0) {
    throw new UserError(
      maskToken === undefined
        ? 'The model has an output for every token, but no mask token to fill in. Use msd inspect to see what MSD does with it.'
        : `The model fills in ${maskToken}: write a prompt with it, as in --prompt "The capital of France is ${maskToken}."`,
    );
  }
  const width = logits.dims.at(-1)!;
  const own = floatsOfTensor(logits).subarray(at * width, (at + 1) * width);
  return { kind: 'words', best: bestOf(own, (id) => tokenizer.decode([id]).trim()) };
}

/** The largest of softmax(logits). */
function bestOf(logits: Float32Array, nameOf: (id: number) => string) {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = logits.reduce((sum, value) => sum + Math.exp(value - most), 0);
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  return order.slice(0, SHOWN).map((id) => ({ name: nameOf(id), share: Math.exp(logits[id]! - most) / total }));
}

/** Of vectors of length 1. */
export function cosine(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}
