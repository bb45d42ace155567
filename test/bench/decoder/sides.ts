/** Who takes part: plain onnxruntime-web, this checkout's @msd/onnx, the build of an older checkout, and the bare products. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type * as OnnxMsd from '@msd/onnx/register';
import type * as Ort from 'onnxruntime-web';
import type { DecoderFiles } from '../models/decoder-files.ts';

export const SIDES = ['ort', 'msd', 'before', 'products'] as const;
/** `products`: the model's matrices in @msd/core and nothing else, without a session. */
export type SideId = (typeof SIDES)[number];
export type SessionSide = Exclude<SideId, 'products'>;

/** Where a session takes its model from. */
export const FROMS = ['path', 'bytes'] as const;
export type From = (typeof FROMS)[number];

export interface Side {
  readonly id: SessionSide;
  readonly ort: typeof Ort;
  /** What MSD says of a session of this side; nothing of others. */
  report(session: Ort.InferenceSession): OnnxMsd.SessionReport | undefined;
}

export interface SideOptions {
  readonly threads: number;
  /** Root of another built checkout, for `before`. */
  readonly msd?: string | undefined;
}

/** Opens one side. Modules load only here: a process that measures memory has no other side's. */
export async function openSide(id: SessionSide, { threads, msd }: SideOptions): Promise<Side> {
  const [ort, own] = id === 'before' ? await olderBuild(msd) : [await import('onnxruntime-web'), undefined];
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  if (id === 'ort') return { id, ort, report: () => undefined };
  const { register, reportOf } = own ?? (await import('@msd/onnx/register'));
  if (own) apart(() => register(ort, { threads }));
  else register(ort, { threads });
  return { id, ort, report: (session) => reportOf(session) };
}

/** With an ONNX Runtime of its own: a registry takes one `msd` only. */
async function olderBuild(root: string | undefined): Promise<[typeof Ort, typeof OnnxMsd]> {
  if (root === undefined) throw new RangeError("decoder: side 'before' expected the option --msd, got none.");
  const folder = resolve(root, 'packages/onnx');
  const load = (file: string): Promise<unknown> => import(pathToFileURL(file).href);
  const require = createRequire(join(folder, 'package.json'));
  return (await Promise.all([
    load(join(dirname(require.resolve('onnxruntime-web')), 'ort.node.min.mjs')),
    load(require.resolve('@msd/onnx/register')),
  ])) as [typeof Ort, typeof OnnxMsd];
}

let olderState: unknown;

/** Copies of @msd/onnx share state on `globalThis`, and the older one may keep it in another form. */
function apart(register: () => void): void {
  const holder = globalThis as Record<symbol, unknown>;
  const key = Symbol.for('msd.backend');
  const kept = holder[key];
  holder[key] = olderState;
  register();
  olderState = holder[key];
  holder[key] = kept;
}

/** Reads all files once, so that they are in the system's cache, whatever their size. */
export function touchFiles({ request, files }: DecoderFiles): void {
  const buffer = new Uint8Array(2 ** 24);
  for (const name of files) {
    const file = openSync(join(request.folder, name), 'r');
    while (readSync(file, buffer) > 0);
    closeSync(file);
  }
}

/** A model's files in memory, by name. */
export function readFiles({ request, files }: DecoderFiles): Map<string, Uint8Array> {
  const read = (name: string): Uint8Array => {
    const { buffer, byteOffset, byteLength } = readFileSync(join(request.folder, name));
    return new Uint8Array(buffer, byteOffset, byteLength);
  };
  return new Map(files.map((name) => [name, read(name)]));
}

/** @param bytes of `readFiles`; without them the session reads the files itself */
export function createSession(
  { id, ort }: Side,
  { request, files }: DecoderFiles,
  bytes?: ReadonlyMap<string, Uint8Array>,
): Promise<Ort.InferenceSession> {
  const [model = '', ...others] = files;
  const externalData = others.map((path) => ({ path, data: bytes?.get(path) ?? join(request.folder, path) }));
  const options: Ort.InferenceSession.SessionOptions = {
    executionProviders: [id === 'ort' ? 'wasm' : 'msd'],
    logSeverityLevel: 3,
    ...(externalData.length > 0 && { externalData }),
  };
  const inMemory = bytes?.get(model);
  return inMemory
    ? ort.InferenceSession.create(inMemory, options)
    : ort.InferenceSession.create(join(request.folder, model), options);
}
