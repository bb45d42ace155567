/** Sessions of a model's files: on MSD, or on plain onnxruntime-web. */
import { type LoadProgress, type MsdOptions, register, reportOf } from '@msd/onnx/register';
import * as ort from 'onnxruntime-web';
import { learnInputs } from '../models/inputs.ts';
import { messageOf, UserError } from '../shared/errors.ts';
import type { ModelFile } from '../shared/layout.ts';
import { externalDataOf, type Located } from '../shared/locate.ts';
import type { Progress } from '../shared/progress.ts';

export type Engine = 'msd' | 'ort';
export const ENGINE_NAMES: Readonly<Record<Engine, string>> = { msd: 'MSD', ort: 'onnxruntime-web' };
/** ONNX Runtime's `executionProviders` entry of each. */
const PROVIDERS: Readonly<Record<Engine, string>> = { msd: 'msd', ort: 'wasm' };

export interface RuntimeOptions extends MsdOptions {
  readonly threads: number | 'auto';
}

/** onnxruntime-web with MSD registered. */
export function runtime(options: RuntimeOptions): typeof ort {
  // ONNX Runtime takes half of the cores, four at most, unless it is told.
  if (options.threads !== 'auto') ort.env.wasm.numThreads = options.threads;
  ort.env.logLevel = 'error';
  register(ort, options);
  return ort;
}

/** Loads files of one model. */
export class Loader {
  readonly #located: Located;
  readonly #engine: Engine;
  readonly #options: RuntimeOptions;
  readonly #progress: Progress | undefined;
  readonly #sessions: ort.InferenceSession[] = [];

  constructor(located: Located, engine: Engine, options: RuntimeOptions, progress?: Progress) {
    this.#located = located;
    this.#engine = engine;
    this.#options = options;
    this.#progress = progress;
  }

  /** @throws {@link UserError} when the file is no model that the engine can run */
  async load(file: ModelFile): Promise<ort.InferenceSession> {
    const externalData = externalDataOf(this.#located, file);
    const onProgress = (now: LoadProgress): void => this.#tell(file, now);
    const provider = this.#engine === 'msd' ? { name: PROVIDERS.msd, onProgress } : PROVIDERS[this.#engine];
    const options = { executionProviders: [provider as string], ...(externalData.length > 0 && { externalData }) };
    try {
      const session = await runtime(this.#options).InferenceSession.create(file.location, options);
      this.#sessions.push(session);
      return await learnInputs(session, file.location, externalData);
    } catch (cause) {
      throw new UserError(`${file.name}: ${ENGINE_NAMES[this.#engine]} could not load it: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  #tell({ name }: ModelFile, { phase, loadedBytes, totalBytes }: LoadProgress): void {
    if (phase === 'ready') return;
    if (phase === 'start') this.#progress?.update(`Starting onnxruntime-web for ${name}`);
    else {
      const job = phase === 'download' ? 'Downloading' : 'Packing';
      this.#progress?.update(`${job} ${name}`, { done: loadedBytes, total: totalBytes, unit: 'bytes' });
    }
  }

  /** What MSD took over of all of them, in one line; nothing for plain onnxruntime-web. */
  summary(): string {
    const reports = this.#sessions.flatMap((session) => reportOf(session) ?? []);
    if (reports.length === 0) return '';
    const nodes = reports.flatMap((report) => report.nodes);
    const own = nodes.filter(({ where }) => where === 'msd').length;
    if (own === nodes.length) return `MSD runs all ${own} nodes: onnxruntime-web is not started.`;
    if (own > 0) return `MSD runs ${own} of ${nodes.length} nodes, onnxruntime-web the other ${nodes.length - own}.`;
    return `MSD runs nothing of this model: ${reports[0]!.whole}. Look at it with msd inspect.`;
  }
}
