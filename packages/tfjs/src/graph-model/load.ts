/** Graph models whose weights stay integers from download to kernel. */

import type { GraphModel } from '@tensorflow/tfjs-converter';
import type { io } from '@tensorflow/tfjs-core';
import { prepareBackend } from '../fallback.ts';
import { cleanly } from '../leftovers.ts';
import { handlerFor, loadRewritten, type Rewrite } from '../loading/load.ts';
import { type LoadModelOptions, splitOptions } from '../loading/options.ts';
import { converter } from '../peers.ts';
import { QuantizedTensor } from '../quantized-tensor.ts';
import type { ModelReport } from '../report.ts';
import { reserveFor } from '../reserve.ts';
import { requireRegistration } from '../state.ts';
import { rewriteArtifacts } from './artifacts.ts';
import { prepareLoops } from './loops/steps.ts';
import { dropFileBytes, internalsOf, setReport } from './model.ts';
import { prepareConverter } from './ops.ts';
import { resolveModelOptions } from './options.ts';
import { packedNodesOf } from './packed-nodes.ts';
import { prepareKernels } from './prepare.ts';
import { specOfNode } from './spec-attr.ts';
import type { Topology } from './topology.ts';

/** An IOHandler that hands rewritten artifacts to tfjs. */
export interface MsdHandler extends io.IOHandler {
  load(): Promise<io.ModelArtifacts>;
  /** What the last `load` did. */
  readonly report: ModelReport | undefined;
}

/**
 * Wraps an IOHandler. Weights that are stored as uint8, uint16, float16 or in MSD's own formats keep that form, float
 * weights are quantized. In the graph that tfjs gets, matrix multiplications and look-ups are MSD's ops.
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
  options: LoadModelOptions = {},
): Promise<MsdHandler> {
  const where = 'graphModelHandler';
  const { tf } = requireRegistration(where);
  const { own, stock } = splitOptions(options, where);
  const resolved = await resolveModelOptions(own, where);
  prepareConverter(await converter(where));
  await prepareBackend(tf);
  const inner = handlerFor(tf.io, source, stock, true);
  let report: ModelReport | undefined;
  return {
    async load() {
      const rewrite: Rewrite = (artifacts, stored) => rewriteArtifacts(artifacts, resolved, stored);
      const rewritten = await loadRewritten(tf.io, inner, rewrite, stock, prepareLoops);
      report = rewritten.report;
      await prepareKernels(rewritten.artifacts.modelTopology as unknown as Topology);
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
 * @returns an ordinary GraphModel: execute, executeAsync, save and dispose work. `reportOf(model)` says what MSD took over
 * @example
 * ```ts
 * const model = await loadGraphModel('https://…/model.json');
 * console.log(formatReport(reportOf(model)));
 * ```
 */
export async function loadGraphModel(
  source: string | io.IOHandler,
  options: LoadModelOptions = {},
): Promise<GraphModel> {
  const handler = await graphModelHandler(source, options);
  const { GraphModel } = await converter('loadGraphModel');
  const { tf } = requireRegistration('loadGraphModel');
  const model = new GraphModel(handler);
  const stock = model.loadSync;
  model.loadSync = (artifacts) => cleanly(tf, () => stock.call(model, artifacts));
  await model.load();
  delete (model as Partial<GraphModel>).loadSync; // the class's own again
  dropFileBytes(model);
  setReport(model, handler.report!);
  reserveFor(packedTensorsOf(model));
  return model;
}

function packedTensorsOf(model: GraphModel): QuantizedTensor[] {
  const { artifacts, executor } = internalsOf(model, 'loadGraphModel');
  return packedNodesOf(artifacts.modelTopology as unknown as Topology).flatMap(({ node, constant = '', attr }) => {
    const tensor = executor.weightMap[constant]?.[0];
    return tensor ? [new QuantizedTensor(tensor, specOfNode(node, tensor.size, attr))] : [];
  });
}
