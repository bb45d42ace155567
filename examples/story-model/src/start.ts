/**
 * The main job: a quantized language model in plain onnxruntime-web and with MSD, from one command (`npm start`).
 *
 *   1. both engines write a story
 *   2. one table: speed, start, memory, accuracy
 *   3. one table: layer shapes of real language models
 *
 * One thread; both engines share the process and take turns, so that whatever the machine does meets both.
 */
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import { reportOf } from '@msd/onnx/register';
import { measureLayers } from '../../../packages/cli/src/bench/layers.ts';
import { DECODE_ROWS, LLM_LAYERS, PREFILL_ROWS } from '../../../packages/cli/src/bench/shapes.ts';
import { layerTable } from '../../../packages/cli/src/bench/table.ts';
import type { DecoderSession } from '../../../packages/cli/src/run/decoder.ts';
import { StoryWriter } from '../../../packages/cli/src/run/story-writer.ts';
import { TextStream } from '../../../packages/cli/src/run/text-stream.ts';
import { UserError } from '../../../packages/cli/src/shared/errors.ts';
import { threeDigits } from '../../../packages/cli/src/shared/numbers.ts';
import { HELP, type Options, parseOptions } from './cli.ts';
import {
  type Both,
  measureAccuracy,
  measureAlone,
  measureSpeed,
  type ReferenceText,
  smallestMargin,
} from './compare.ts';
import { ENGINE_NAMES, ENGINES, type Engine, loadDecoder, runtime } from './engines.ts';
import { greedyRun, tokensPerSecond } from './greedy-run.ts';
import { encodePrompt, type ModelFolder, openModelFolder } from './model-folder.ts';
import { PROMPTS } from './prompts.ts';
import { sessionReference, storyReference } from './reference.ts';
import { decoderTable } from './result-tables.ts';
import { Progress } from './terminal.ts';

const SHIPPED = fileURLToPath(new URL('../generated', import.meta.url));
const DEFAULT_TOKENS = 200;
const DEFAULT_PROMPT = 'Once upon a time';
const SPEED_ROUNDS = 10;
const ALONE_ROUNDS = 3;
const LAYER_ROUNDS = 11;

const out = process.stdout;
const progress = new Progress(out);
const say = (text = ''): void => {
  progress.clear();
  out.write(`${text}\n`);
};

/** Writes one text on the screen, ends where the model ends it. */
async function tell(
  engine: Engine,
  decoder: DecoderSession,
  folder: ModelFolder,
  prompt: readonly number[],
  count: number,
) {
  say(`\n${styleText('bold', ENGINE_NAMES[engine])}`);
  const writer = new StoryWriter(out);
  const text = new TextStream(folder.tokenizer, prompt);
  writer.prompt(folder.tokenizer.decode([...prompt], { skip_special_tokens: true }));
  const status = (tokens: number, ms: number): string =>
    `${tokens} tokens, ${tokensPerSecond(tokens, ms).toFixed(0)} tokens/s`;
  const run = await greedyRun(decoder, prompt, count, (id, tokens, ms) => {
    if (folder.config.endIds.includes(id)) return true;
    writer.write(text.push(id));
    if (tokens > 1) writer.status(status(tokens, ms));
    return false;
  });
  writer.end(`${status(run.ids.length, run.decodeMs)}, still cold`);
}

/** What MSD took over, in one line. */
function describeSession({ session }: DecoderSession): string {
  const report = reportOf(session);
  if (report === undefined) return '';
  if (report.whole !== undefined) return `MSD ran nothing of this model: ${report.whole}.`;
  const own = report.nodes.filter(({ where }) => where === 'msd');
  const products = own.filter(({ opType }) => opType === 'MatMulNBits');
  const kernels = [...new Set(products.flatMap(({ kernel = [] }) => kernel))].join(', ');
  const all = report.nodes.length;
  if (own.length === all) return `MSD runs all ${all} nodes (${kernels}): onnxruntime-web is not started.`;
  return `MSD runs ${own.length} of ${all} nodes (${kernels}), onnxruntime-web the other ${all - own.length}.`;
}

/** Steps 1 and 2. */
async function showDecoder(options: Options): Promise<void> {
  const path = options.model ?? SHIPPED;
  const folder = openModelFolder(path, options.dtype);
  const texts = options.prompt !== undefined ? [options.prompt] : options.model ? [DEFAULT_PROMPT] : PROMPTS;
  const lengths = texts.map((text) => encodePrompt(folder, text, 2).length);
  const tokens = options.tokens ?? Math.min(DEFAULT_TOKENS, folder.config.context - Math.max(...lengths));
  const prompts = texts.map((text) => encodePrompt(folder, text, tokens));
  const first = prompts[0] as readonly number[];
  const { web } = runtime().env.versions;
  say(`onnxruntime-web ${web}, Node ${process.versions.node}, ${cpus()[0]?.model ?? 'unknown CPU'}, one thread`);

  const decoders: Both<DecoderSession> = {
    ort: await loadDecoder('ort', folder),
    msd: await loadDecoder('msd', folder),
  };
  for (const engine of ENGINES) await tell(engine, decoders[engine], folder, first, tokens);
  say();

  // The shipped weights are at hand for an independent computation; of another model only the ONNX file is known.
  const isShippedInt4 = options.model === undefined && (options.dtype ?? 'q4') === 'q4';
  const reference = isShippedInt4 ? storyReference() : sessionReference(decoders.ort);
  const references: ReferenceText[] = [];
  for (const [i, prompt] of prompts.entries()) {
    progress.update('Writing the reference texts', `${i + 1} of ${prompts.length}`);
    references.push(await reference(prompt, tokens));
  }
  const stage = (name: string) => (detail: string) => progress.update(name, detail);
  const accuracy = await measureAccuracy(decoders, prompts, references, stage('Comparing logits'));
  const speed = await measureSpeed(decoders, prompts, tokens, SPEED_ROUNDS, stage('Measuring speed'));
  const request = { folder: path, dtype: options.dtype, prompt: first, tokens };
  const alone = await measureAlone(request, ALONE_ROUNDS, stage('Measuring load time and memory'));
  const foreignRuns = reportOf(decoders.msd.session)?.foreignRunsPerCall ?? 0;
  say(decoderTable({ tokens, prompts: prompts.length, accuracy, speed, alone, foreignRuns }));

  const rest = (alone.msd.wasmBytes - alone.msd.arenaBytes) / 1e6;
  say(
    styleText(
      'dim',
      `
${describeSession(decoders.msd)}
Speed: medians of ${SPEED_ROUNDS} interleaved rounds in this process, ± half the distance of the quartiles; first token of ${first.length} prompt tokens.
Load time and memory: each engine alone in ${ALONE_ROUNDS} fresh processes, ONNX Runtime's start included where it is needed; memory after ${tokens} tokens,
all WebAssembly memories. MSD: ${(alone.msd.arenaBytes / 1e6).toFixed(1)} MB of its own, ${rest.toFixed(1)} MB ${foreignRuns > 0 ? "ONNX Runtime's heap" : 'for trials of kernels'}.
Reference of SQNR and tokens: ${
        isShippedInt4
          ? 'the forward pass in TypeScript on the same int4 weights, float64 sums'
          : 'plain onnxruntime-web, which computes in float32'
      }.
Smallest margin between best and second logit: ${threeDigits(smallestMargin(references))}.`,
    ),
  );
  for (const engine of ENGINES) await decoders[engine].release();
}

/** Step 3. */
async function showLayers(): Promise<void> {
  say(`\n${styleText('bold', 'Layers of language models')}: MatMulNBits, int4, blocks of 32, through session.run\n`);
  const results = await measureLayers({
    ort: runtime(),
    shapes: LLM_LAYERS,
    rows: [DECODE_ROWS, PREFILL_ROWS],
    rounds: LAYER_ROUNDS,
    onProgress: (detail) => progress.update('Measuring layers', detail),
  });
  say(layerTable(results));
  const difference = Math.max(...results.map(({ relativeError }) => relativeError));
  say(
    styleText(
      'dim',
      `
Medians of ${LAYER_ROUNDS} interleaved rounds, ± half the distance of the quartiles. The results were compared first: |y − y'| / |y'| is at most
${difference.toExponential(1)}. Limit: min(peak of i32x4.dot_i16x8_s, read bandwidth ÷ bytes per multiply-accumulate), measured in the same rounds;
CPUs that multiply 8 bits faster than 16 (AVX-VNNI, ARM) can go beyond it.`,
    ),
  );
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  if (options.help) return say(HELP);
  await showDecoder(options);
  if (options.layers) await showLayers();
}

// A reader that has seen enough, like `npm start | head`, is no error.
out.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});
try {
  await main();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  progress.clear();
  process.stderr.write(`${styleText('red', error.message, { stream: process.stderr })}\n`);
  process.exitCode = 1;
}
