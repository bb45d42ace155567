/** The Worker's side of `@msd/onnx/worker`: what `worker` of its options has to run, as a module. */
import * as ort from '#ort/wasm';
import { configure } from '../configure.ts';
import type { LoadProgress } from '../execute/progress.ts';
import type { OrtTensor } from '../ort.ts';
import { register } from '../register.ts';
import type { SessionReport } from '../report.ts';
import { explain } from '../report-of.ts';
import {
  type Answered,
  type Asked,
  type Kind,
  type Questions,
  type SentTensor,
  sentData,
  sentError,
} from './messages.ts';

interface Port {
  onmessage: ((event: { readonly data: Asked }) => void) | null;
  postMessage(message: Answered, transfer: readonly ArrayBuffer[]): void;
}

interface Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: never;
  readonly outputMetadata: never;
  readonly report?: SessionReport;
  run(feeds: object, fetches: readonly string[], options: object): Promise<Readonly<Record<string, OrtTensor>>>;
  release(): Promise<void>;
  startProfiling(): void;
  endProfiling(): void;
}

const scope = globalThis as unknown as Port & { process?: { getBuiltinModule?(name: string): unknown } };
const threads = scope.process?.getBuiltinModule?.('node:worker_threads') as { parentPort: Port | null } | undefined;
const port: Port = threads?.parentPort ?? scope;

/** Of what is under way, by the number of the question. */
const stops = new Map<number, AbortController>();
const kept = new Map<number, OrtTensor>();
let session: Session;
let keeps: (name: string) => boolean = (name) => name.startsWith('present');
let hasRun = false;
let lastKept = 0;

type Moved = Set<ArrayBuffer>;

const serve: { readonly [K in Kind]: (question: Questions[K], moved: Moved, signal: AbortSignal) => Promise<unknown> } =
  {
    async create({ model, options, configured, wasm, keep, isWatched }, _, signal) {
      // What lies beside it, or where the bundler put it.
      Object.assign(ort.env.wasm, { wasmPaths: ort.env.wasm.wasmPaths ?? {} }, wasm);
      register(ort);
      configure({
        ...configured,
        onProgress: isWatched ? (progress: LoadProgress) => port.postMessage({ progress }, []) : undefined,
      });
      if (keep) keeps = (name) => keep.includes(name);
      const { create } = ort.InferenceSession as unknown as {
        create(model: unknown, options: object): Promise<Session>;
      };
      session = await create.call(ort.InferenceSession, model, { ...options, signal });
      const { inputNames, outputNames, inputMetadata, outputMetadata, report } = session;
      return { inputNames, outputNames, inputMetadata, outputMetadata, report };
    },

    async run({ feeds, fetches = session.outputNames, options }, moved, signal) {
      const results = await session.run(mapped(feeds, fed), fetches, { ...options, signal });
      const first = hasRun ? undefined : session.report;
      hasRun = true;
      return { results: mapped(results, (tensor, name) => sent(tensor, name, moved)), report: first };
    },

    async read(id) {
      return keptTensor(id).data;
    },

    async report(isExplained) {
      return isExplained ? explain(session) : session.report;
    },

    async profile(isOn) {
      if (isOn) session.startProfiling();
      else session.endProfiling();
      return session.report;
    },

    async release() {
      kept.clear();
      await session.release();
      return session.report;
    },
  };

function mapped<T, U>(record: Readonly<Record<string, T>>, to: (value: T, name: string) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, to(value, name)]));
}

function keptTensor(id: number): OrtTensor {
  const tensor = kept.get(id);
  if (!tensor) throw new RangeError('worker: tensor, expected one that is kept, got one after dispose().');
  return tensor;
}

function fed({ type, dims, data, kept: id }: SentTensor): unknown {
  if (id !== undefined) return keptTensor(id);
  return new (ort.Tensor as unknown as new (...args: unknown[]) => OrtTensor)(type, data, dims);
}

function sent(tensor: OrtTensor, name: string, moved: Moved): SentTensor {
  const { type, dims } = tensor;
  if (!keeps(name)) return { type, dims, data: sentData(tensor.data, true, moved) };
  kept.set(++lastKept, tensor);
  return { type, dims, kept: lastKept };
}

async function answer(id: number, kind: Kind, question: never): Promise<void> {
  const stop = new AbortController();
  stops.set(id, stop);
  try {
    const moved: Moved = new Set();
    port.postMessage({ id, answer: (await serve[kind](question, moved, stop.signal)) as never }, [...moved]);
  } catch (error) {
    port.postMessage({ id, error: sentError(error) }, []);
  } finally {
    stops.delete(id);
  }
}

port.onmessage = ({ data: asked }) => {
  if ('stop' in asked) stops.get(asked.stop)?.abort();
  else if ('drop' in asked) kept.delete(asked.drop);
  else void answer(asked.id, asked.kind, asked.question as never);
};
