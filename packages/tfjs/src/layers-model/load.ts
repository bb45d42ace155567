/** Layers models whose Dense weights stay integers from download to kernel. */

import type { io } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { ModelFormatError } from '../errors.ts';
import { prepareBackend } from '../fallback.ts';
import { stockBytes } from '../graph-model/artifacts.ts';
import { handlerFor, type MsdHandler } from '../graph-model/load.ts';
import { setReport } from '../graph-model/model.ts';
import { type ModelOptions, resolveModelOptions } from '../graph-model/options.ts';
import type { RewriteOptions } from '../graph-model/rewrite.ts';
import { layers } from '../peers.ts';
import type { ModelReport, NodeReport } from '../report.ts';
import type { MatrixSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import { encode } from '../weights/encode.ts';
import { readManifest, sizeOf, type WeightSpec } from '../weights/manifest.ts';
import { fileConstant } from '../weights/source.ts';
import { msdDenseConfig, registerDense } from './dense.ts';

/**
 * Like {@link graphModelHandler}, for layers models: `Dense` layers become `MsdDense`.
 *
 * @throws `ModelFormatError` (from `load`) if the model contradicts itself
 */
export async function layersModelHandler(
  source: string | io.IOHandler,
  options: ModelOptions = {},
): Promise<MsdHandler> {
  const where = 'layersModelHandler';
  const { tf } = requireRegistration(where);
  const resolved = resolveModelOptions(options, where);
  registerDense(await layers(where));
  await prepareBackend(tf);
  const inner = handlerFor(tf.io, source);
  let report: ModelReport | undefined;
  return {
    async load() {
      const rewritten = rewriteLayers(await inner.load!(), resolved);
      report = rewritten.report;
      return rewritten.artifacts;
    },
    get report() {
      return report;
    },
  };
}

/**
 * Like `tf.loadLayersModel`, with the weights of Dense layers as integers.
 *
 * @returns a LayersModel as every other; its Dense layers cannot be trained further, all others can
 * @example
 * ```ts
 * const model = await loadLayersModel('https://…/model.json', { format: 'int4' });
 * ```
 */
export async function loadLayersModel(source: string | io.IOHandler, options: ModelOptions = {}): Promise<LayersModel> {
  const handler = await layersModelHandler(source, options);
  const model = await (await layers('loadLayersModel')).loadLayersModel(handler);
  setReport(model, handler.report!);
  return model;
}

interface LayerConfig {
  class_name?: string;
  config?: Record<string, unknown> | LayerConfig[];
}

/** Every layer of a model and of the models in it, in place. */
function eachLayer(model: LayerConfig, visit: (layer: LayerConfig, owner: string) => void): void {
  const { config } = model;
  const list = Array.isArray(config) ? config : config?.layers;
  if (!Array.isArray(list)) return;
  for (const layer of list as LayerConfig[]) {
    visit(layer, model.class_name ?? 'model');
    eachLayer(layer, visit);
  }
}

function rewriteLayers(
  artifacts: io.ModelArtifacts,
  options: RewriteOptions,
): { artifacts: io.ModelArtifacts; report: ModelReport } {
  const { modelTopology, weightSpecs, weightData } = artifacts;
  if (typeof modelTopology !== 'object' || modelTopology === null)
    throw new ModelFormatError(`model: modelTopology, expected an object, got ${String(modelTopology)}.`);
  const topology = structuredClone(modelTopology) as { model_config?: LayerConfig } & LayerConfig;
  const root = topology.model_config ?? topology;
  if (typeof root.config !== 'object' || root.config === null)
    throw new ModelFormatError('model: modelTopology, expected a model with a config. Is it a layers model?');
  const stored = readManifest(weightSpecs ?? [], weightData ?? new ArrayBuffer(0));
  const packed = new Map<string, Int32Array<ArrayBuffer>>();
  const nodes: NodeReport[] = [];
  eachLayer(root, (layer) => {
    if (layer.class_name !== 'Dense' || Array.isArray(layer.config)) return;
    const name = String(layer.config?.name);
    const refuse = (reason: string) => void nodes.push({ name, op: 'Dense', where: 'tfjs', reason });
    const weight = kernelOf(name, stored);
    if (!weight) return refuse('its kernel is not in the manifest under its name');
    const constant = fileConstant(weight);
    const [K, N] = constant.shape;
    if (constant.dtype !== 'float32' || constant.shape.length !== 2)
      return refuse(`a kernel of shape [${constant.shape}]`);
    if (sizeOf(weight.spec) < options.minElements) return refuse(`fewer than ${options.minElements} weights`);
    const view = { kind: 'matrix', batchShape: [], N: N!, K: K!, transposed: false } as const;
    const { packed: result, error, how } = encode(constant.stored(), view, options);
    packed.set(weight.spec.name, result.data);
    layer.class_name = 'MsdDense';
    layer.config = msdDenseConfig(layer.config!, result.spec as MatrixSpec);
    const bytes = { bytesBefore: constant.byteLength, bytesAfter: result.data.byteLength };
    nodes.push({
      name,
      op: 'Dense',
      where: 'msd',
      msdOp: 'MsdDense',
      weights: { spec: result.spec, how, error, ...bytes, sharedBy: 1 },
    });
  });
  const specs: WeightSpec[] = [];
  const data: ArrayBuffer[] = [];
  let [weightBytes, stock] = [0, 0];
  for (const [name, { spec, bytes }] of stored) {
    const replacement = packed.get(name);
    specs.push(replacement ? { name, shape: [replacement.length], dtype: 'int32' } : spec);
    data.push(replacement?.buffer ?? bytes().buffer);
    stock += stockBytes(spec);
    weightBytes += replacement?.byteLength ?? stockBytes(spec);
  }
  return {
    artifacts: {
      ...artifacts,
      modelTopology: topology,
      weightSpecs: specs as io.WeightsManifestEntry[],
      weightData: data,
    },
    report: { nodes, stockBytes: stock, weightBytes },
  };
}

/** `dense_1/kernel`, or with names in between as Keras writes them for nested scopes. */
function kernelOf<T extends { readonly spec: WeightSpec }>(
  layer: string,
  weights: ReadonlyMap<string, T>,
): T | undefined {
  const exact = weights.get(`${layer}/kernel`);
  if (exact) return exact;
  const matches = [...weights.values()].filter(({ spec }) => {
    const parts = spec.name.split('/');
    return parts.at(-1)?.replace(/:0$/, '') === 'kernel' && parts.at(-2) === layer;
  });
  return matches.length === 1 ? matches[0] : undefined;
}
