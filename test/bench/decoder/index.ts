/**
 * `npm run bench -- decoder`: whole 4-bit decoders through `session.run`, beside plain onnxruntime-web and, with `--msd DIR`,
 * beside the build of another checkout; and how far MSD is from its products alone.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeMachine } from '../environments.ts';
import type { Clock } from '../measure.ts';
import { type DecoderShape, type Embedding, macsPerToken } from '../models/decoder.ts';
import { type DecoderFiles, type Packaging, writeDecoder } from '../models/decoder-files.ts';
import { measured } from '../results.ts';
import { summarize } from '../samples.ts';
import { sampleLoad } from './load.ts';
import type { PageSample } from './page.ts';
import { openLoadPages, PAGE_FROMS } from './pages.ts';
import { type DecoderResult, type LoadResult, type PageLoadResult, writeDecoderResult } from './report.ts';
import { type From, type SideId, touchFiles } from './sides.ts';
import { measureSpeed } from './speed.ts';

export const LOAD_PLACES = ['node', 'chromium'] as const;

export interface DecoderOptions {
  readonly shapes: readonly DecoderShape[];
  readonly embedding: Embedding;
  readonly packaging: Packaging;
  readonly sides: readonly SideId[];
  /** Root of the checkout whose build is side `before`. */
  readonly msd: string | undefined;
  readonly threads: number;
  readonly rounds: number;
  /** That figures and ratios are by; both are kept. Loading is always what a user waits. */
  readonly clock: Clock;
  readonly pasts: readonly number[];
  /** Tokens of each prompt. */
  readonly prompts: readonly number[];
  /** Fresh processes per side that load; 0 leaves loading out. */
  readonly loads: number;
  /** Where these take the model from, in Node. In a page: from bytes and from a URL. */
  readonly froms: readonly From[];
  readonly loadsIn: readonly (typeof LOAD_PLACES)[number][];
  /** Where models are kept; default: a temporary folder that is removed. */
  readonly folder: string | undefined;
  readonly out: string;
  readonly log: (message: string) => void;
}

export async function measureDecoders(options: DecoderOptions): Promise<DecoderResult[]> {
  const { folder = mkdtempSync(join(tmpdir(), 'msd-decoder-')), embedding, packaging } = options;
  const results: DecoderResult[] = [];
  try {
    for (const shape of options.shapes) {
      const name = `${shape.name}-L${shape.layers}-H${shape.hiddenSize}-${embedding}-${packaging}`;
      options.log(`${name}: writing`);
      const files = writeDecoder({ folder: join(folder, name), shape, embedding, packaging });
      results.push(await measureDecoder(files, options));
      if (options.folder === undefined) rmSync(join(folder, name), { recursive: true });
    }
  } finally {
    if (options.folder === undefined) rmSync(folder, { recursive: true });
  }
  return results;
}

async function measureDecoder(files: DecoderFiles, options: DecoderOptions): Promise<DecoderResult> {
  const { shape, embedding, packaging } = files.request;
  const { rounds, threads, clock, out } = options;
  const [load] = loadavg();
  const date = new Date().toISOString();
  const loads = options.loadsIn.includes('node') ? measureLoads(files, options) : [];
  const pageLoads = options.loadsIn.includes('chromium') ? await measurePageLoads(files, options) : [];
  const { versions, ...speed } = await measureSpeed(files, options);
  const result: DecoderResult = {
    shape,
    embedding,
    packaging,
    fileBytes: files.byteLength,
    macsPerToken: macsPerToken(shape),
    threads,
    date,
    machine: describeMachine(),
    load: Number(load!.toFixed(2)),
    versions: { node: process.versions.node, v8: process.versions.v8, ...versions },
    rounds,
    clock,
    ...speed,
    loads,
    ...(pageLoads.length > 0 && { pageLoads }),
  };
  mkdirSync(out, { recursive: true });
  writeDecoderResult(out, result);
  return result;
}

/** All sides in turns, each in fresh processes; the files are in the system's cache. */
function measureLoads(
  files: DecoderFiles,
  { sides, froms, loads: count, threads, msd, log }: DecoderOptions,
): LoadResult[] {
  if (count === 0) return [];
  touchFiles(files);
  const jobs = froms.flatMap((from) =>
    [...sides.filter((side) => side !== 'products'), 'pack' as const].map((by) => ({ by, from, files, threads, msd })),
  );
  const samples = jobs.map((): ReturnType<typeof sampleLoad>[] => []);
  for (let round = 0; round < count; round++)
    for (const [i, job] of jobs.entries()) {
      log(`loading ${round + 1} of ${count}: ${job.by}, from ${job.from}`);
      samples[i]!.push(sampleLoad(job));
    }
  return jobs.map(({ by, from }, i): LoadResult => {
    const own = samples[i]!;
    const middle = (of: (sample: (typeof own)[number]) => number) => Math.round(summarize(own.map(of)).median);
    const { claimedBytes } = own[0]!;
    return {
      by,
      from,
      ms: measured(own.map(({ ms }) => ms)),
      startMs: middle(({ startMs }) => startMs),
      systemMs: middle(({ systemMs }) => systemMs),
      pageFaults: middle(({ pageFaults }) => pageFaults),
      wasmBytes: middle(({ wasmBytes }) => wasmBytes),
      wasmBytesAfterToken: middle(({ wasmBytesAfterToken }) => wasmBytesAfterToken),
      rss: middle(({ rss }) => rss),
      peakRss: middle(({ peakRss }) => peakRss),
      ...(claimedBytes !== undefined && { claimedBytes }),
    };
  });
}

/** The same in Chromium, each in a page of its own. */
async function measurePageLoads(
  files: DecoderFiles,
  { loads: count, threads, sides, msd, log }: DecoderOptions,
): Promise<PageLoadResult[]> {
  if (count === 0) return [];
  touchFiles(files);
  const pages = await openLoadPages(files, msd);
  const found = PAGE_FROMS.flatMap((from) =>
    (['msd', 'before', 'pack'] as const)
      .filter((by) => by === 'pack' || sides.includes(by))
      .map((by) => ({ by, from, samples: [] as PageSample[] })),
  );
  try {
    for (let round = 0; round < count; round++)
      for (const { by, from, samples } of found) {
        log(`loading in Chromium ${round + 1} of ${count}: ${by}, from ${from}`);
        samples.push(await pages.sample(by, from, threads));
      }
  } finally {
    await pages.close();
  }
  return found.map(({ by, from, samples }) => ({
    by,
    from,
    ms: measured(samples.map(({ ms }) => ms)),
    startMs: Math.round(summarize(samples.map(({ startMs }) => startMs)).median),
  }));
}
