/** `msd run FOLDER --prompt TEXT`: a local model on MSD, and with `--plain` on onnxruntime-web beside it. */
import { type Command, InvalidArgumentError } from 'commander';
import { cosine, type Encoded, encode } from '../run/encoder.ts';
import { encodePrompt, type Message, type ModelText, readModelText } from '../run/model-text.ts';
import { openWriter, type TextModel, type WriterFiles, writerFiles } from '../run/open.ts';
import { sampler } from '../run/sampler.ts';
import { ENGINE_NAMES, type Engine, Loader } from '../run/session.ts';
import { StoryWriter } from '../run/story-writer.ts';
import { type Written, write } from '../run/writer.ts';
import { UsageError, UserError } from '../shared/errors.ts';
import { type Located, locate } from '../shared/locate.ts';
import { threeDigits } from '../shared/numbers.ts';
import { atLeastOne, type ModelOptions, modelOptions, threadCount } from '../shared/options.ts';
import { formatTable } from '../shared/table.ts';
import { type Task, task } from '../shared/task.ts';

interface Options extends ModelOptions {
  readonly prompt?: readonly string[];
  readonly system?: string;
  readonly raw?: boolean;
  readonly tokens?: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly seed: number;
  readonly threads: number | 'auto';
  readonly kvCache: 'int16' | 'int8' | 'model';
  readonly components: 1 | 2;
  readonly plain?: boolean;
}

/** One engine's answers. */
interface Answers {
  readonly engine: Engine;
  readonly loadMs: number;
  readonly summary: string;
  readonly written: readonly Written[];
  readonly encoded: readonly Encoded[];
}

const DEFAULT_TOKENS = 200;

export function define(command: Command): void {
  modelOptions(command)
    .option('--prompt <text>', 'what to answer or go on with; may be repeated', repeated)
    .option('--system <text>', 'what a chat model is told before')
    .option('--raw', 'leaves the chat template of the model out')
    .option(
      '--tokens <n>',
      `new tokens at most; default ${DEFAULT_TOKENS}, or what the model's context leaves`,
      atLeastOne,
    )
    .option('--temperature <t>', '0: always the most probable token', atLeastZero, 0)
    .option('--top-k <n>', 'draws from the n most probable tokens; 0: from all', atLeastZero, 0)
    .option('--top-p <p>', 'draws from as many as have this much probability together', share, 1)
    .option('--seed <n>', 'of what is drawn: the same seed, the same text', atLeastZero, 1)
    .option('--threads <n>', 'threads of MSD and of onnxruntime-web', threadCount, 'auto')
    .option('--components <n>', '2: activations keep about 16 bits; 1: 8 bits', oneOrTwo, 2)
    .option('--kv-cache <type>', 'keys and values: int16, int8, or model (its own floats)', kvType, 'int16')
    .option('--plain', 'runs plain onnxruntime-web, too, and compares')
    .action(task(run));
}

const repeated = (text: string, before: readonly string[] = []): string[] => [...before, text];

function atLeastZero(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && Number.isFinite(value))) throw new InvalidArgumentError('Expected a number of at least 0.');
  return value;
}

function share(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 1)) throw new InvalidArgumentError('Expected a number above 0, and 1 at most.');
  return value;
}

function oneOrTwo(text: string): 1 | 2 {
  if (text !== '1' && text !== '2') throw new InvalidArgumentError('Expected 1 or 2.');
  return text === '1' ? 1 : 2;
}

function kvType(text: string): Options['kvCache'] {
  if (text === 'int16' || text === 'int8' || text === 'model') return text;
  throw new InvalidArgumentError('Expected int16, int8 or model.');
}

async function run(job: Task, model: string, options: Options): Promise<void> {
  const prompts = options.prompt ?? [];
  if (prompts.length === 0 || prompts.some((text) => text.trim() === ''))
    throw new UsageError('--prompt: expected some words, got none. Write what the model is to answer: --prompt TEXT.');
  const located = await locate(model, job.signal);
  const text = await readModelText(located);
  const files = writerFiles(located, options);
  checkTokens(text, options, files);
  const engines: readonly Engine[] = options.plain ? ['msd', 'ort'] : ['msd'];
  const all: Answers[] = [];
  const asked = { ...options, prompt: prompts };
  for (const engine of engines) all.push(await answersOf(job, located, text, asked, files, engine));
  const [own, plain] = all as [Answers, Answers | undefined];
  job.out.result(
    {
      model,
      prompts,
      ...asJson(own),
      ...(plain && { plain: asJson(plain), same: comparison(own, plain) }),
    },
    () => summaryText(own, plain),
  );
}

/** Before a model is loaded, which may take minutes: may it write so much? */
function checkTokens(text: ModelText, options: Options, { encoder }: WriterFiles): void {
  const { tokens, prompt = [] } = options;
  if (tokens === undefined) return;
  if (!encoder) {
    for (const each of prompt) promptIds(text, options, each);
    return;
  }
  // An answer begins with one token of its own.
  if (tokens < text.context) return;
  throw new UserError(
    `--tokens: ${tokens} new tokens exceed the model's context of ${text.context}. Ask for at most ${text.context - 1}.`,
  );
}

/** Of a decoder that goes on with its prompt, or answers it. */
function promptIds(text: ModelText, { system, raw, tokens = 1 }: Options, prompt: string): number[] {
  if (text.chat === undefined || raw) return encodePrompt(text, prompt, tokens);
  const messages: Message[] = [
    ...(system === undefined ? [] : [{ role: 'system' as const, content: system }]),
    { role: 'user', content: prompt },
  ];
  return encodePrompt(text, text.chat(messages), tokens, true);
}

/** Loads the model, asks it everything, and lets go of it. */
async function answersOf(
  job: Task,
  located: Located,
  text: ModelText,
  options: Options & { readonly prompt: readonly string[] },
  files: WriterFiles,
  engine: Engine,
): Promise<Answers> {
  const { progress } = job;
  const { threads, components, kvCache } = options;
  progress.update(`Loading ${located.asked} into ${ENGINE_NAMES[engine]}`);
  const start = performance.now();
  const loader = new Loader(located, engine, { threads, components, kvCache }, progress);
  const opened = await openWriter(located, loader, text, files);
  const loadMs = performance.now() - start;
  progress.clear();
  const written: Written[] = [];
  const encoded: Encoded[] = [];
  for (const prompt of options.prompt) {
    job.undo.check();
    if (opened.kind === 'encoder') encoded.push(await encode(opened.session, text, prompt));
    else written.push(await tell(job, opened, text, options, engine, prompt));
  }
  const summary = loader.summary();
  await opened.release();
  return { engine, loadMs, summary, written, encoded };
}

/** Writes one text, on the screen as it comes. */
async function tell(
  { out, undo }: Task,
  opened: Exclude<TextModel, { kind: 'encoder' }>,
  text: ModelText,
  options: Options,
  engine: Engine,
  prompt: string,
): Promise<Written> {
  const isChat = text.chat !== undefined && !options.raw && opened.kind === 'decoder';
  const encoder = opened.kind === 'both' ? await opened.read(prompt) : undefined;
  const ids = encoder ? [text.startId ?? 0] : promptIds(text, options, prompt);
  const tokens = options.tokens ?? Math.min(DEFAULT_TOKENS, text.context - ids.length);
  const screen = out.stdout.isTTY && !out.isJson ? new StoryWriter(out.stdout) : undefined;
  if (options.plain) out.text(`${ENGINE_NAMES[engine]}:\n`);
  const begun = isChat || encoder ? '' : prompt;
  if (screen) screen.prompt(begun);
  else out.text(begun);
  const written = await write(opened.decoder, text, {
    ...{ prompt: ids, tokens, encoder },
    sample: sampler(options),
    check: () => undo.check(),
    onText(piece, soFar) {
      if (!screen) return out.text(piece);
      screen.write(piece);
      if (soFar.ids.length > 1) screen.status(speedText(soFar));
    },
  });
  if (screen) screen.end(speedText(written));
  else out.text('\n');
  return written;
}

function speedText({ ids, tokensPerSecond }: Written): string {
  return `${ids.length} tokens, ${threeDigits(tokensPerSecond)} tokens/s`;
}

function asJson({ engine, loadMs, summary, written, encoded }: Answers) {
  const answers = encoded.map(({ answer, ...rest }) => ({
    ...rest,
    ...(answer.kind === 'embedding'
      ? { kind: answer.kind, vector: Array.from(answer.vector) }
      : { kind: answer.kind, best: answer.best }),
  }));
  return { engine, loadMs, summary, answers: written.length > 0 ? written : answers };
}

/** How alike both engines' answers are. */
function comparison(own: Answers, plain: Answers) {
  if (own.written.length > 0) {
    const identicalTokens = own.written.map(({ ids }, i) => {
      const other = plain.written[i]!.ids;
      const at = ids.findIndex((id, t) => other[t] !== id);
      return at < 0 ? Math.min(ids.length, other.length) : at;
    });
    const timesFaster = own.written.map((each, i) => each.tokensPerSecond / plain.written[i]!.tokensPerSecond);
    return { identicalTokens, timesFaster };
  }
  const timesFaster = own.encoded.map(({ ms }, i) => plain.encoded[i]!.ms / ms);
  const cosines = own.encoded.flatMap(({ answer }, i) => {
    const other = plain.encoded[i]!.answer;
    return answer.kind === 'embedding' && other.kind === 'embedding' ? [cosine(answer.vector, other.vector)] : [];
  });
  return { timesFaster, ...(cosines.length > 0 && { cosines }) };
}

function summaryText(own: Answers, plain: Answers | undefined): string {
  const lines: string[] = [];
  for (const answers of plain ? [own, plain] : [own]) {
    const { engine, loadMs, written, encoded } = answers;
    const speeds = written.map(
      (each) =>
        `${each.ids.length} tokens, first after ${threeDigits(each.firstTokenMs)} ms, ${threeDigits(each.tokensPerSecond)} tokens/s`,
    );
    const times = encoded.map(({ tokens, ms }) => `${tokens} tokens in ${threeDigits(ms)} ms`);
    lines.push(`${ENGINE_NAMES[engine]}: loaded in ${threeDigits(loadMs)} ms; ${[...speeds, ...times].join('; ')}.`);
  }
  if (own.encoded.length > 0) lines.unshift(encodedText(own.encoded), '');
  lines.push(own.summary);
  if (plain) {
    const { timesFaster, ...same } = comparison(own, plain);
    const times = timesFaster.map((ratio) => threeDigits(ratio)).join(', ');
    const identical = 'identicalTokens' in same ? same.identicalTokens : undefined;
    const texts = identical?.map((count, i) =>
      count === own.written[i]!.ids.length && count === plain.written[i]!.ids.length
        ? 'the same text'
        : `the same ${count} tokens, then other ones`,
    );
    lines.push(`MSD is ${times} times as fast${texts ? `, and writes ${texts.join('; ')}` : ''}.`);
  }
  return lines.join('\n');
}

function encodedText(encoded: readonly Encoded[]): string {
  return encoded
    .map(({ text, answer }, i) => {
      if (answer.kind !== 'embedding') {
        const best = answer.best.map(({ name, share }) => `${name} ${(100 * share).toFixed(1)} %`);
        return `${text}\n  ${best.join(', ')}`;
      }
      const first = Array.from(answer.vector.subarray(0, 4), (value) => value.toFixed(3)).join(', ');
      return `${i + 1}. ${text}\n  ${answer.vector.length} numbers: ${first}, …`;
    })
    .concat(similarities(encoded))
    .join('\n');
}

/** Of all texts with each other, where there are several vectors. */
function similarities(encoded: readonly Encoded[]): string[] {
  const vectors = encoded.flatMap(({ answer }) => (answer.kind === 'embedding' ? [answer.vector] : []));
  if (vectors.length < 2) return [];
  const columns = ['cosine', ...vectors.map((_, i) => `${i + 1}`)].map((header) => ({
    header,
    align: 'right' as const,
  }));
  const rows = vectors.map((a, i) => [`${i + 1}`, ...vectors.map((b) => cosine(a, b).toFixed(3))]);
  return ['', formatTable(columns, rows)];
}
