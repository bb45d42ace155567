/**
 * A model of gigabytes in one WebAssembly memory, in a process of its own: node --expose-gc large.ts JOB prints a
 * {@link LargeResult}. It is loaded from its files, writes some tokens, is given a context that cannot fit, and goes on.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type * as Ort from 'onnxruntime-web';
import type { DecoderFiles } from '../models/decoder-files.ts';
import { Reader, randomCache, tokens } from './reader.ts';
import { createSession, openSide } from './sides.ts';

export interface LargeJob {
  readonly files: DecoderFiles;
  readonly threads: number;
  /** To write after a prompt of as many. */
  readonly tokens: number;
  /** Whether it is given a context that cannot fit. */
  readonly beyond: boolean;
}

export interface LargeResult {
  readonly packedBytes: number;
  /** MSD's memory after the tokens. */
  readonly wasmBytes: number;
  readonly peakRss: number;
  readonly foreignRuns: number;
  readonly text: readonly number[];
  /** Keys of the context that was too long, and what came of it. */
  readonly tooMany?: number;
  readonly refusal?: string;
  /** The same text once more, after that. */
  readonly again: readonly number[];
}

/** Runs a job in a fresh process. */
export function runLarge(job: LargeJob): LargeResult {
  const args = ['--expose-gc', '--no-warnings', fileURLToPath(import.meta.url), JSON.stringify(job)];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const line = stdout.trim().split('\n').at(-1) ?? '';
  if (status !== 0 || !line.startsWith('{')) throw new Error(`decoder: a large model failed.\n${stderr}`);
  return JSON.parse(line) as LargeResult;
}

async function run({ files, threads, tokens: count, beyond }: LargeJob): Promise<LargeResult> {
  const { shape } = files.request;
  const side = await openSide('msd', { threads });
  const session = await createSession(side, files);
  const write = async (): Promise<number[]> => {
    const reader = Reader.from(side, session, shape, randomCache(shape, 0));
    const text: number[] = [];
    for (let ids = tokens(count, shape.vocabSize); text.length < count; ids = text.slice(-1)) {
      const logits = await reader.read(ids);
      text.push(logits.indexOf(logits.reduce((most, value) => Math.max(most, value))));
    }
    return text;
  };
  const text = await write();
  const { memory, weights, foreignRunsPerCall } = side.report(session)!;
  const peakRss = process.resourceUsage().maxRSS * 1024;
  let refused: Pick<LargeResult, 'tooMany' | 'refusal'> = {};
  if (beyond) {
    const tooMany = contextBeyond(memory.wasmBytes, files);
    const refusal = await readAfter(side.ort, session, files, tooMany).then(
      () => 'none',
      (error: Error) => `${error.name}: ${error.message}`,
    );
    refused = { tooMany, refusal };
  }
  return {
    packedBytes: weights.packedBytes,
    wasmBytes: memory.wasmBytes,
    peakRss,
    foreignRuns: foreignRunsPerCall,
    text,
    ...refused,
    again: await write(),
  };
}

/** Keys that 4 GiB have no room for beside what is there, if each element takes two bytes. */
function contextBeyond(wasmBytes: number, { request }: DecoderFiles): number {
  const { layers, kvHeads, headDim } = request.shape;
  return Math.ceil((2 ** 32 - wasmBytes) / (layers * kvHeads * 4 * headDim));
}

/** A token after a context of zeros; all layers' keys and values are one array. */
async function readAfter(
  { Tensor }: typeof Ort,
  session: Ort.InferenceSession,
  { request }: DecoderFiles,
  past: number,
): Promise<void> {
  const { kvHeads, headDim } = request.shape;
  const zeros = new Tensor('float32', new Float32Array(kvHeads * past * headDim), [1, kvHeads, past, headDim]);
  const names = session.inputNames.filter((name) => name.startsWith('past_key_values'));
  await session.run({
    input_ids: new Tensor('int64', BigInt64Array.of(7n), [1, 1]),
    attention_mask: new Tensor('int64', new BigInt64Array(past + 1).fill(1n), [1, past + 1]),
    ...Object.fromEntries(names.map((name) => [name, zeros])),
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(JSON.stringify(await run(JSON.parse(process.argv[2]!) as LargeJob)));
  process.exit(0); // workers need not end by themselves
}
