/** Loading in a page: the command line calls what it leaves in `page$`. */
import { register } from '@msd/onnx/register';
import * as ort from 'onnxruntime-web/wasm';
import type { DecoderFiles } from '../models/decoder-files.ts';
import { prepareMatrices } from './matrices.ts';
import { bytesReader } from './stretches.ts';
import { tinyModel } from './tiny-model.ts';

export interface PageJob {
  readonly by: 'msd' | 'pack';
  readonly from: 'bytes' | 'url';
  readonly files: Pick<DecoderFiles, 'files' | 'matrices'>;
  readonly threads: number;
}

/** Milliseconds: of the side's own start, and of loading after it. */
export interface PageSample {
  readonly startMs: number;
  readonly ms: number;
}

const at = (name: string): string => `/model/${name}`;

async function fetched(names: readonly string[]): Promise<Map<string, Uint8Array>> {
  const read = async (name: string) => [name, new Uint8Array(await (await fetch(at(name))).arrayBuffer())] as const;
  return new Map(await Promise.all(names.map(read)));
}

async function loadModel({ by, from, files, threads }: PageJob): Promise<PageSample> {
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  register(ort, { threads });
  const providers = { executionProviders: ['msd'], logSeverityLevel: 3 } as const;
  const begin = performance.now();
  const tiny = await ort.InferenceSession.create(tinyModel('msd'), providers);
  await tiny.release();
  const startMs = performance.now() - begin;
  const bytes = from === 'bytes' ? await fetched(files.files) : undefined;
  const start = performance.now();
  if (by === 'pack') await prepareMatrices(files, threads, bytesReader(bytes ?? (await fetched(files.files))));
  else {
    const [model = '', ...others] = files.files;
    const externalData = others.map((path) => ({ path, data: bytes?.get(path) ?? at(path) }));
    const options = { ...providers, externalData };
    await (bytes
      ? ort.InferenceSession.create(bytes.get(model)!, options)
      : ort.InferenceSession.create(at(model), options));
  }
  return { startMs, ms: performance.now() - start };
}

Object.assign(globalThis, { page$: { loadModel } });
