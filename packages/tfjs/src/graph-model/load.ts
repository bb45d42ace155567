/** Graph models whose weights stay integers from download to kernel. */
import type { GraphModel } from '@tensorflow/tfjs-converter';
import type { io } from '@tensorflow/tfjs-core';
import { prepareBackend } from '../fallback.ts';
import { cleanly } from '../leftovers.ts';
import { converter } from '../peers.ts';
import type { ModelReport } from '../report.ts';
import { requireRegistration } from '../state.ts';
import { rewriteArtifacts } from './artifacts.ts';
import { dropFileBytes, setReport } from './model.ts';
import { prepareConverter } from './ops.ts';
import { type ModelOptions, resolveModelOptions } from './options.ts';

/** An IOHandler that hands rewritten artifacts to tfjs. */
export interface MsdHandler extends io.IOHandler {
  load(): Promise<io.ModelArtifacts>;
  /** What the last `load` did. */
  readonly report: ModelReport | undefined;
}

/**
 * Wraps an IOHandler: quantized manifests (uint8, uint16, float16) and MSD's own formats keep their stored form, float
 * weights are quantized; the graph that tfjs gets has MSD's ops in place of the products and look-ups.
 *
 * @param source a URL, or any IOHandler of a graph model
 * @throws `ModelFormatError` (from `load`) if the model contradicts itself
 * @example
 * ```ts
 * const model = await tf.loadGraphModel(await graphModelHandler('model.json'));
 * ```
 */
export async function graphModelHandler(
  source: string | io.IOHandler,
  options: ModelOptions = {},
): Promise<MsdHandler> {
  const where = 'graphModelHandler';
  const { tf } = requireRegistration(where);
  const resolved = await resolveModelOptions(options, where);
  prepareConverter(await converter(where));
  await prepareBackend(tf);
  const inner = handlerFor(tf.io, source);
  let report: ModelReport | undefined;
  return {
    async load() {
      const rewritten = rewriteArtifacts(await inner.load!(), resolved);
      report = rewritten.report;
      return rewritten.artifacts;
    },
    get report() {
      return report;
    },
  };
}

/**
 * Like `tf.loadGraphModel`, with weights that stay integers.
 *
 * @param source a URL, or any IOHandler of a graph model
 * @returns a GraphModel as every other: execute, executeAsync, save and dispose work. `reportOf(model)` says what was taken
 * @example
 * ```ts
 * const model = await loadGraphModel('https://…/model.json');
 * console.log(formatReport(reportOf(model)!));
 * ```
 */
export async function loadGraphModel(
  source: string | io.IOHandler,
  options: ModelOptions & { readonly loadOptions?: io.LoadOptions } = {},
): Promise<GraphModel> {
  const { loadOptions, ...rest } = options;
  const handler = await graphModelHandler(source, rest);
  const { GraphModel } = await converter('loadGraphModel');
  const { tf } = requireRegistration('loadGraphModel');
  const model = new GraphModel(handler, loadOptions);
  const stock = model.loadSync;
  model.loadSync = (artifacts) => cleanly(tf, () => stock.call(model, artifacts));
  await model.load();
  delete (model as Partial<GraphModel>).loadSync; // the class's own again
  dropFileBytes(model);
  setReport(model, handler.report!);
  return model;
}

/** As tfjs finds the handler of a URL. */
export function handlerFor(tfio: typeof io, source: string | io.IOHandler): io.IOHandler {
  if (typeof source === 'object' && source !== null && typeof source.load === 'function') return source;
  if (typeof source !== 'string')
    throw new TypeError(
      `load: source, expected a URL or an IOHandler, got ${source === null ? 'null' : typeof source}.`,
    );
  const [first, second] = tfio.getLoadHandlers(source);
  if (second) throw new RangeError(`load: source, ${source} has more than one load handler.`);
  return first ?? tfio.browserHTTPRequest(source);
}
