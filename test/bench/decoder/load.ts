/**
 * What loading costs, in a process of its own: node --expose-gc load.ts JOB prints a {@link LoadSample}. Only a fresh process
 * tells its memory, and page faults of an older one would be missing.
 */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { wasmBytes } from '../memory-probe.ts';
import type { DecoderFiles } from '../models/decoder-files.ts';
import { fileReader } from './file-stretches.ts';
import { Reader, randomCache, tokens } from './reader.ts';
import {
  createSession,
  type From,
  openSide,
  readFiles,
  type SessionSide,
  type Side,
  type SideOptions,
} from './sides.ts';
import { bytesReader } from './stretches.ts';
import { tinyModel } from './tiny-model.ts';

/** pack: every matrix read and prepared by @msd/core, and nothing else. */
export type LoadedBy = SessionSide | 'pack';

export interface LoadJob extends SideOptions {
  readonly by: LoadedBy;
  readonly from: From;
  readonly files: DecoderFiles;
}

export interface LoadSample {
  /**
   * A side's own start, once per process: until it had made a session of a tiny model. Plain onnxruntime-web compiles its module;
   * MSD's code is loaded, and it finds out what the engine is fast with. ONNX Runtime it starts where a model needs it, within `ms`.
   */
  readonly startMs: number;
  /** After that, from files or bytes to a session that is ready. Reading the bytes is not part of it. */
  readonly ms: number;
  readonly systemMs: number;
  /** Pages that the system gave, without disk access, while `ms` went by. */
  readonly pageFaults: number;
  /** All WebAssembly memories, MSD's and ONNX Runtime's: after loading, and after a first token. */
  readonly wasmBytes: number;
  readonly wasmBytesAfterToken: number;
  readonly rss: number;
  readonly peakRss: number;
  /** Bytes that the claimed weights have in the file, where MSD tells. */
  readonly claimedBytes?: number;
}

/** Runs a job in a fresh process. */
export function sampleLoad(job: LoadJob): LoadSample {
  const args = ['--expose-gc', '--no-warnings', fileURLToPath(import.meta.url), JSON.stringify(job)];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const line = stdout.trim().split('\n').at(-1) ?? '';
  if (status !== 0 || !line.startsWith('{')) throw new Error(`decoder: loading by ${job.by} failed.\n${stderr}`);
  return JSON.parse(line) as LoadSample;
}

async function load(job: LoadJob): Promise<LoadSample> {
  const bytes = job.from === 'bytes' ? readFiles(job.files) : undefined;
  const { gc = () => {} } = globalThis as { gc?(): void };
  const { startMs, open } = await (job.by === 'pack' ? packing(job.files, bytes) : opening(job, job.by, bytes));
  // What was left of reading and of the start would be collected meanwhile, or not.
  gc();
  await new Promise((resolve) => setTimeout(resolve, 20));
  const before = { at: performance.now(), ...process.resourceUsage() };
  const { firstToken, claimedBytes } = await open();
  const ms = performance.now() - before.at;
  const after = process.resourceUsage();
  gc();
  const [loaded, { rss }] = [wasmBytes(), process.memoryUsage()];
  await firstToken();
  gc();
  return {
    startMs,
    ms,
    systemMs: (after.systemCPUTime - before.systemCPUTime) / 1000,
    pageFaults: after.minorPageFault - before.minorPageFault,
    wasmBytes: loaded,
    wasmBytesAfterToken: wasmBytes(),
    rss,
    peakRss: process.resourceUsage().maxRSS * 1024,
    ...(claimedBytes !== undefined && { claimedBytes }),
  };
}

interface Loaded {
  firstToken(): Promise<unknown>;
  readonly claimedBytes?: number | undefined;
}
interface Prepared {
  readonly startMs: number;
  open(): Promise<Loaded>;
}

async function start({ id, ort }: Side): Promise<number> {
  const begin = performance.now();
  const session = await ort.InferenceSession.create(tinyModel(id === 'ort' ? 'wasm' : 'msd'), {
    executionProviders: [id === 'ort' ? 'wasm' : 'msd'],
  });
  await session.release();
  return performance.now() - begin;
}

async function opening(
  job: LoadJob,
  by: SessionSide,
  bytes: ReadonlyMap<string, Uint8Array> | undefined,
): Promise<Prepared> {
  const { files } = job;
  const { shape } = files.request;
  const side = await openSide(by, job);
  const startMs = await start(side);
  const open = async () => {
    const session = await createSession(side, files, bytes);
    return {
      firstToken: () => Reader.from(side, session, shape, randomCache(shape, 0)).read(tokens(1, shape.vocabSize)),
      claimedBytes: side.report(session)?.weights.fileBytes,
    };
  };
  return { startMs, open };
}

async function packing(files: DecoderFiles, bytes: ReadonlyMap<string, Uint8Array> | undefined): Promise<Prepared> {
  const { prepareMatrices } = await import('./matrices.ts');
  const open = async () => {
    const { prepared, fileBytes } = await prepareMatrices(files, 1, bytes ? bytesReader(bytes) : fileReader(files));
    return { firstToken: async () => prepared.length, claimedBytes: fileBytes };
  };
  return { startMs: 0, open };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(JSON.stringify(await load(JSON.parse(process.argv[2]!) as LoadJob)));
  process.exit(0); // workers and sessions need not end by themselves
}
