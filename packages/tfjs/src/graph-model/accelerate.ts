/** A GraphModel that is loaded already: its float weights become packed, the graph is rewritten in place. */

import { UnsupportedError } from '@msd/core';
import type { GraphModel } from '@tensorflow/tfjs-converter';
import { ModelFormatError } from '../errors.ts';
import { isInMemory } from '../kernels/hosts.ts';
import { converter } from '../peers.ts';
import type { ModelReport } from '../report.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor, TfNamespace } from '../tf.ts';
import { readManifest, type WeightSpec } from '../weights/manifest.ts';
import type { Constant } from '../weights/source.ts';
import { signatureOf, stockBytes } from './artifacts.ts';
import { internalsOf, type ModelInternals, setReport } from './model.ts';
import { registerOps } from './ops.ts';
import { type RewriteOptions, rewriteGraph } from './rewrite.ts';
import { artifactsInTensors, keptBytes } from './saving.ts';
import { checkTopology, type Topology } from './topology.ts';

export async function accelerateGraphModel(
  model: GraphModel,
  options: RewriteOptions,
  restorable: boolean,
): Promise<{ report: ModelReport; restore: () => Promise<void> }> {
  const where = 'accelerate';
  const { tf } = requireRegistration(where);
  registerOps(await converter(where));
  const internals = internalsOf(model, where);
  const original = internals.artifacts;
  checkTopology(original.modelTopology);
  const initializer = original.modelInitializer as Topology | undefined;
  const before = new Map(Object.entries(internals.executor.weightMap).map(([name, tensors]) => [name, tensors[0]!]));
  // Read without blocking where the values may lie on a GPU; elsewhere each when it is needed, without a second copy of all.
  const onGpu = !isInMemory(tf.getBackend());
  const values = new Map<Tensor, Float32Array>();
  for (const tensor of before.values())
    if (onGpu && tensor.dtype === 'float32' && tensor.size >= options.minElements)
      values.set(tensor, await tensor.data<'float32'>());
  const constants = new Map(
    [...before].map(([name, tensor]) => [name, tensorConstant(name, tensor, values.get(tensor))]),
  );
  const { topology, packed, dropped, nodes } = rewriteGraph(
    original.modelTopology,
    signatureOf(original),
    initializer,
    constants,
    options,
  );

  const weights: Record<string, Tensor> = {};
  const specs: WeightSpec[] = [];
  const gone: [name: string, tensor: Tensor][] = [];
  let [weightBytes, stock] = [0, 0];
  for (const [name, tensor] of before) {
    const replacement = packed.get(name);
    stock += stockBytes(tensor);
    if (replacement || dropped.has(name)) gone.push([name, tensor]);
    if (dropped.has(name)) continue;
    weights[name] = replacement ? tf.keep(tf.tensor1d(replacement.data, 'int32')) : tensor;
    specs.push({ name, shape: weights[name].shape, dtype: weights[name].dtype });
    weightBytes += stockBytes(weights[name]);
  }
  const report: ModelReport = { nodes, stockBytes: stock, weightBytes };
  const keptValues = restorable ? new Map<string, Values>() : undefined;
  for (const [name, tensor] of gone) keptValues?.set(name, await copyOf(tensor));
  const modelTopology = topology as unknown as NonNullable<typeof original.modelTopology>;
  const kept = stringBytes(original, before);
  internals.loadWithWeightMap(artifactsInTensors(original, modelTopology, { specs, kept, model: internals }), weights);
  for (const [, tensor] of gone) tensor.dispose();
  setReport(model, report);

  let isRestored = false;
  async function restore(): Promise<void> {
    if (isRestored) return;
    const current = internalsOf(model, 'restore');
    if (keptValues) restoreKept(tf, current, original, weights, keptValues);
    else await reload(current, weights);
    isRestored = true;
    setReport(model, undefined);
  }
  return { report, restore };
}

interface Values {
  readonly values: Float32Array | Int32Array | Uint8Array;
  readonly shape: number[];
  readonly dtype: 'float32' | 'int32' | 'bool';
}

const copyOf = async (tensor: Tensor): Promise<Values> => ({
  values: ((await tensor.data()) as Float32Array).slice(),
  shape: tensor.shape,
  dtype: tensor.dtype as 'float32',
});

function restoreKept(
  tf: TfNamespace,
  internals: ModelInternals,
  original: ModelInternals['artifacts'],
  now: Readonly<Record<string, Tensor>>,
  kept: ReadonlyMap<string, Values>,
): void {
  const weights: Record<string, Tensor> = { ...now };
  for (const [name, { values, shape, dtype }] of kept) {
    now[name]?.dispose();
    weights[name] = tf.keep(tf.tensor(values, shape, dtype));
  }
  internals.loadWithWeightMap(original, weights);
}

async function reload(internals: ModelInternals, now: Readonly<Record<string, Tensor>>): Promise<void> {
  if (typeof internals.handler?.load !== 'function')
    throw new UnsupportedError(
      'restore: the model has no handler to load its weights again from. Use accelerate(model, { restorable: true }).',
    );
  internals.loadSync(await internals.handler.load());
  for (const tensor of Object.values(now)) tensor.dispose();
}

/** Strings and complex numbers are none that a tensor gives back as they were: their bytes stay. */
function stringBytes(
  artifacts: ModelInternals['artifacts'],
  weights: ReadonlyMap<string, Tensor>,
): ReadonlyMap<string, ArrayBuffer> {
  const own = keptBytes(artifacts);
  if (own) return new Map([...own].filter(([name]) => isOther(weights.get(name))));
  const kept = new Map<string, ArrayBuffer>();
  if (![...weights.values()].some(isOther)) return kept;
  const { weightSpecs, weightData } = artifacts;
  if (!weightSpecs || !weightData) return kept;
  try {
    for (const [name, { spec, bytes }] of readManifest(weightSpecs, weightData))
      if (isOther(spec)) kept.set(name, bytes().buffer);
  } catch (error) {
    if (!(error instanceof ModelFormatError)) throw error;
  }
  return kept;
}

const isOther = (weight: { readonly dtype: string } | undefined): boolean =>
  weight?.dtype === 'string' || weight?.dtype === 'complex64';

/** A constant that is a tensor already: float32, whatever the file held. */
function tensorConstant(name: string, tensor: Tensor, values?: Float32Array): Constant {
  return {
    name,
    shape: tensor.shape,
    dtype: tensor.dtype,
    byteLength: stockBytes(tensor),
    stored: () => ({ kind: 'float32', values: values ?? tensor.dataSync<'float32'>() }),
    integers: () => tensor.dataSync<'int32'>(),
  };
}
