/** `msd inspect MODEL`: what will happen, before anything is downloaded. */
import { confirm, isCancel } from '@clack/prompts';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Looked, look } from '../inspect/look.ts';
import { lookedText } from '../inspect/text.ts';
import type { Clock } from '../models/player.ts';
import { Interrupted, UsageError } from '../shared/errors.ts';
import { hubHeaders } from '../shared/hub.ts';
import type { ModelFile } from '../shared/layout.ts';
import { chooseFiles, type Located, locate } from '../shared/locate.ts';
import { machineText, thisMachine } from '../shared/machine.ts';
import { bytesText } from '../shared/numbers.ts';
import { atLeastOne, type ModelOptions, modelOptions, threadCount } from '../shared/options.ts';
import { type Task, task } from '../shared/task.ts';

interface Options extends ModelOptions {
  readonly tokens: number;
  readonly size?: Readonly<Record<string, number>>;
  readonly threads: number | 'auto';
  readonly components: 1 | 2;
  readonly measure: boolean;
  readonly clock: Clock;
  readonly plain?: boolean;
  readonly download?: boolean;
  readonly timeout: number;
}

export function define(command: Command): void {
  modelOptions(command)
    .option('--tokens <n>', 'tokens of the prompt', atLeastOne, 128)
    .option('--size <name=n>', 'size of a dimension that the file leaves open; may be repeated', namedSize)
    .option('--threads <n>', 'threads of MSD and of onnxruntime-web', threadCount, 'auto')
    .option('--components <n>', '2: activations keep about 16 bits; 1: 8 bits', components, 2)
    .option('--plain', 'measures plain onnxruntime-web, too')
    .option('--no-measure', 'predicts times instead of running the graph here')
    .addOption(
      new Option('--clock <name>', 'cpu: measures CPU time, where other programs take the cores')
        .choices(['wall', 'cpu'])
        .default('wall'),
    )
    .option('--timeout <seconds>', 'gives up a server of which nothing comes for so long; 0: never', seconds, 60)
    .option('--download', 'fetches the whole file where a server does not send parts of files')
    .action(task(inspect));
}

function namedSize(text: string, known: Readonly<Record<string, number>> = {}): Record<string, number> {
  const [, name, size] = /^(.+)=(\d+)$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError('Expected NAME=NUMBER, as in height=640.');
  return { ...known, [name]: Number(size) };
}

function components(text: string): 1 | 2 {
  if (text !== '1' && text !== '2') throw new InvalidArgumentError('Expected 1 or 2.');
  return text === '1' ? 1 : 2;
}

/** Timers have 31 bits of milliseconds. */
const MOST_SECONDS = 2e6;

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= MOST_SECONDS))
    throw new InvalidArgumentError(`Expected seconds, 0 to ${MOST_SECONDS}.`);
  return value;
}

async function inspect(job: Task, model: string, options: Options): Promise<void> {
  const { out, progress, signal } = job;
  const timeoutMs = 1000 * options.timeout;
  const located = await locate(model, signal, timeoutMs);
  const files = withoutTwins(chooseFiles(located, options));
  const { context, image } = await readSizes(located);
  const models: Looked[] = [];
  for (const { name, location } of files) {
    let received = 0;
    models.push(
      await look({
        ...{ name, location, context, signal, threads: options.threads },
        msd: { components: options.components },
        sizes: {
          // Tokens behind the prompt, which are measured, have positions, too.
          tokens: Math.min(options.tokens, Math.max(1, (context ?? Infinity) - TOKENS_BEHIND)),
          encoder: Math.max(ENCODER_POSITIONS, options.tokens),
          image,
          named: options.size ?? {},
        },
        measures: options.measure,
        clock: options.clock,
        comparesPlain: options.plain === true,
        reading: {
          headers: hubHeaders(location),
          timeoutMs,
          onBytes(count) {
            received += count;
            progress.update(`Reading ${name}`, { done: received, unit: 'bytes' });
          },
          mayDownload: (url, byteLength) => mayDownload(job, options, url, byteLength),
        },
        onStage: (stage) => progress.update(stage),
      }),
    );
  }
  progress.clear();
  checkNames(options.size ?? {}, models);
  const machine = thisMachine();
  const readBytes = models.reduce((sum, { read }) => sum + read.bytes, 0);
  out.result({ asked: model, kind: located.kind, machine, threads: options.threads, readBytes, models }, () =>
    [...models.map(lookedText), `${machineText(machine)}; threads: ${options.threads}.`].join('\n\n'),
  );
}

/** A size of nothing is a typing error. */
function checkNames(sizes: Readonly<Record<string, number>>, models: readonly Looked[]): void {
  const open = new Set(models.flatMap(({ inputs }) => inputs.flatMap(({ dims = [] }) => dims)));
  const names = [...open].filter((dim) => typeof dim === 'string');
  const unknown = Object.keys(sizes).find((name) => !open.has(name));
  if (unknown === undefined) return;
  const there = names.length > 0 ? `one of ${names.join(', ')}` : 'none: the file leaves no size open';
  throw new UsageError(`--size: expected ${there}, got ${unknown}.`);
}

/** Of a decoder that is there whole and in two halves, the whole one. */
function withoutTwins(files: readonly ModelFile[]): readonly ModelFile[] {
  const isMerged = files.some(({ module }) => module === 'decoder_model_merged');
  return isMerged ? files.filter(({ module }) => !/^decoder(_with_past)?_model$/.test(module)) : files;
}

/** Tokens that a trial writes behind a prompt. */
const TOKENS_BEHIND = 16;
/** What a decoder looks at, however few tokens it is given to begin with. */
const ENCODER_POSITIONS = 128;
const SMALL_DOWNLOAD = 64e6;

async function mayDownload(
  { canAsk, progress }: Task,
  { download }: Options,
  url: string,
  byteLength: number | undefined,
): Promise<boolean> {
  if (download) return true;
  if (byteLength !== undefined && byteLength <= SMALL_DOWNLOAD) return true;
  if (!canAsk) return false;
  progress.clear();
  const size = byteLength === undefined ? 'of unknown length' : bytesText(byteLength);
  const answer = await confirm({
    message: `${url} comes only as a whole (${size}). Download it?`,
    initialValue: false,
  });
  if (isCancel(answer)) throw new Interrupted();
  return answer;
}

const USUAL_IMAGE = 224;

/** What config files say of sizes. */
async function readSizes({ readText }: Located): Promise<{ context: number | undefined; image: number }> {
  const [config, processor] = await Promise.all([
    readJson(readText, 'config.json'),
    readJson(readText, 'preprocessor_config.json'),
  ]);
  const number = (value: unknown): number | undefined => (typeof value === 'number' && value > 0 ? value : undefined);
  const size = processor.crop_size ?? processor.size;
  const side = typeof size === 'object' && size !== null ? (size as { height?: unknown }).height : size;
  return {
    context: number(config.max_position_embeddings) ?? number(config.n_positions),
    image: number(side) ?? number(config.image_size) ?? USUAL_IMAGE,
  };
}

async function readJson(readText: Located['readText'], name: string): Promise<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse((await readText(name)) ?? '{}');
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    // What sizes would be guessed from is no reason to stop.
    return {};
  }
}
