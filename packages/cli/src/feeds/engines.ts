/** Sessions of both engines, from bytes or a path. */
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import type { InferenceSession, Tensor } from 'onnxruntime-web';
import type { Edit } from '../edit/edit.ts';
import { encodeModel, verbatim } from '../edit/encode.ts';
import { learnInputs } from '../models/inputs.ts';
import { messageOf, UserError } from '../shared/errors.ts';

export type Feeds = Readonly<Record<string, Tensor>>;
export type Results = Readonly<Record<string, Tensor>>;

/** Who computes: onnxruntime-web alone, or MSD with so many components. */
export type Engine = 'ort' | 'msd-1' | 'msd-2';

/** What an engine is called in tables. */
export const ENGINE_NAMES: Readonly<Record<Engine, string>> = {
  ort: 'ONNX Runtime',
  'msd-1': 'MSD, 1 component',
  'msd-2': 'MSD, 2 components',
};

/** More threads than this gain little in WebAssembly. */
const MOST_THREADS = 4;

let loading: Promise<typeof import('onnxruntime-web')> | undefined;

/** onnxruntime-web with MSD registered: fetched when the first session is made. */
export function runtime(): Promise<typeof import('onnxruntime-web')> {
  loading ??= (async () => {
    const [ort, { register }] = await Promise.all([import('onnxruntime-web'), import('@msd/onnx/register')]);
    ort.env.wasm.numThreads = Math.min(MOST_THREADS, availableParallelism());
    ort.env.logLevel = 'error';
    register(ort);
    return ort;
  })();
  return loading;
}

/** @param claimsAll MSD takes whatever it has, whether that pays or not: for looking at single products */
function providersOf(engine: Engine, claimsAll: boolean): InferenceSession.ExecutionProviderConfig[] {
  const components = engine === 'msd-1' ? 1 : 2;
  const provider = engine === 'ort' ? 'wasm' : { name: 'msd', components, claim: claimsAll ? 'all' : 'auto' };
  return [provider] as unknown as InferenceSession.ExecutionProviderConfig[];
}

/** A session of an edited model that lies in memory; its external data stays where it is. */
export async function sessionOf(
  edit: Edit,
  engine: Engine,
  externalFrom: string,
  claimsAll = false,
): Promise<InferenceSession> {
  const { locations } = edit.model.record.files;
  const externalData = [...locations].map((path) => ({ path, data: join(dirname(externalFrom), path) }));
  return create(encodeModel(edit, verbatim).finish(), engine, externalData, claimsAll);
}

/** A session of a file. */
export async function sessionOfFile(
  path: string,
  engine: Engine,
  externalData: readonly { path: string; data: string }[],
): Promise<InferenceSession> {
  return create(path, engine, externalData);
}

async function create(
  model: Uint8Array | string,
  engine: Engine,
  externalData: readonly { path: string; data: string }[],
  claimsAll = false,
): Promise<InferenceSession> {
  const ort = await runtime();
  const options: InferenceSession.SessionOptions = {
    executionProviders: providersOf(engine, claimsAll),
    logSeverityLevel: 4, // what is wrong is in the error, too
    ...(externalData.length > 0 && { externalData: [...externalData] }),
  };
  try {
    const session = await (typeof model === 'string'
      ? ort.InferenceSession.create(model, options)
      : ort.InferenceSession.create(model, options));
    return await learnInputs(session, model, externalData);
  } catch (error) {
    throw new UserError(`${ENGINE_NAMES[engine]} refuses the model: ${messageOf(error)}`, { cause: error });
  }
}

/** A result as numbers. */
export async function numbersOf(tensor: Tensor): Promise<Float32Array> {
  const data = await tensor.getData();
  if (data instanceof Float32Array) return data;
  if (tensor.type === 'float16' && data instanceof Uint16Array) {
    const { floatsOfHalves } = await import('@msd/onnx/model');
    return floatsOfHalves(data);
  }
  return Float32Array.from(data as ArrayLike<number | bigint>, Number);
}
