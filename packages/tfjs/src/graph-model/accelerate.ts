/** A GraphModel that is loaded already: its float weights become packed, the graph is rewritten in place. */
import type { GraphModel } from '@tensorflow/tfjs-converter';
import { addChange } from '../changes.ts';
import { checkGraphModel } from '../copies.ts';
import { DisposedError } from '../errors.ts';
import { converter } from '../peers.ts';
import type { ModelReport } from '../report.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import type { StoredWeight, WeightSpec } from '../weights/manifest.ts';
import { signatureOf, stockBytes } from './artifacts.ts';
import { constantsOf, storedWeights } from './constants.ts';
import { prepareLoops } from './loops/steps.ts';
import { internalsOf, type ModelInternals, reportOf, setReport } from './model.ts';
import { prepareConverter } from './ops.ts';
import { packedBefore } from './packed-nodes.ts';
import { prepareKernels } from './prepare.ts';
import { changeOf, type Done, forgetStale, keepWeights, restore } from './restore.ts';
import { type RewriteOptions, type Rewritten, rewriteGraph } from './rewrite.ts';
import { disposeWhenUnused } from './running.ts';
import { artifactsInTensors, keptBytes } from './saving.ts';
import { checkTopology, type Topology } from './topology.ts';

export async function accelerateGraphModel(
  model: GraphModel,
  options: RewriteOptions,
  restorable: boolean,
): Promise<{ report: ModelReport; restore: () => Promise<void> }> {
  const where = 'accelerate';
  const namespace = await converter(where);
  checkGraphModel(model, namespace);
  prepareConverter(namespace);
  const internals = internalsOf(model, where);
  await prepareLoops(internals.artifacts.modelTopology);
  internalsOf(model, where); // still there?
  forgetStale(model);
  const original = internals.artifacts;
  checkTopology(original.modelTopology);
  const { weightMap } = internals.executor;
  const before = new Map(Object.entries(weightMap).map(([name, tensors]) => [name, tensors[0]!]));
  const stored = storedWeights(original);
  const rewritten = rewriteGraph(
    original.modelTopology,
    signatureOf(original),
    original.modelInitializer as Topology | undefined,
    await constantsOf(before, stored, options.minElements),
    options,
  );
  const report = reportOn(model, original.modelTopology, before, rewritten);
  const { packed, dropped, nodes } = rewritten;
  await prepareKernels(rewritten.topology);
  const isNew = nodes.some((node) => node.where === 'msd') || !keptBytes(original);
  if (!isNew) return { report, restore: async () => {} };

  const gone = new Map([...before].filter(([name]) => packed.has(name) || dropped.has(name)));
  const kept = restorable ? await keepWeights(gone, stored) : undefined;
  // Nothing waits from here on: the model is as it was, or all of it has changed.
  if (internals.executor.weightMap !== weightMap || [...before.values()].some(({ isDisposed }) => isDisposed))
    throw new DisposedError(`${where}: model, has been disposed of or loaded again meanwhile.`);
  const replaced = replaceWeights(internals, before, stored, rewritten);
  const change = changeOf(model, {
    ...replaced,
    gone: [...gone.keys()],
    kept,
    original: kept || keptBytes(original) ? original : undefined,
    reportBefore: reportOf(model),
  });
  addChange(model, change);
  setReport(model, report);
  disposeWhenUnused(model, [...gone.values()]);
  return { report, restore: () => restore(model, change) };
}

/** Gives the model its new graph and weights; an error leaves it as it was. */
function replaceWeights(
  internals: ModelInternals,
  before: ReadonlyMap<string, Tensor>,
  stored: ReadonlyMap<string, StoredWeight>,
  { topology, packed, dropped }: Rewritten,
): Pick<Done, 'artifacts' | 'packed'> {
  const { tf } = requireRegistration('accelerate');
  const { artifacts: original } = internals;
  const weights: Record<string, Tensor> = {};
  const specs: WeightSpec[] = [];
  const made: Tensor[] = [];
  const kept = new Map<string, ArrayBuffer>();
  for (const [name, tensor] of before) {
    if (dropped.has(name)) continue;
    const replacement = packed.get(name);
    const file = replacement ? undefined : stored.get(name);
    if (replacement) made.push(tf.keep(tf.tensor1d(replacement.data, 'int32')));
    weights[name] = replacement ? made.at(-1)! : tensor;
    specs.push(file?.spec ?? { name, shape: weights[name].shape, dtype: weights[name].dtype });
    if (file && isOther(file.spec)) kept.set(name, file.bytes().buffer);
  }
  const modelTopology = topology as unknown as NonNullable<typeof original.modelTopology>;
  const artifacts = artifactsInTensors(original, modelTopology, { specs, kept, model: internals });
  try {
    internals.loadWithWeightMap(artifacts, weights);
  } catch (error) {
    internals.artifacts = original;
    tf.dispose(made);
    throw error;
  }
  return { artifacts, packed: made };
}

/** Weights that their tensor does not give back as they were: strings, complex numbers, codes that tfjs decoded. */
const isOther = ({ dtype, quantization }: WeightSpec): boolean =>
  dtype === 'string' || dtype === 'complex64' || quantization !== undefined;

/** With what was packed before, by this or an earlier program. */
function reportOn(
  model: GraphModel,
  topology: Topology,
  before: ReadonlyMap<string, Tensor>,
  { packed, dropped, nodes }: Rewritten,
): ModelReport {
  const already = packedBefore(topology, (name) => before.get(name)?.size);
  const known = reportOf(model);
  let [stock, weightBytes] = [0, 0];
  for (const [name, tensor] of before) {
    stock += already.stockBytes.get(name) ?? stockBytes(tensor);
    if (!dropped.has(name)) weightBytes += packed.get(name)?.data.byteLength ?? stockBytes(tensor);
  }
  const taken = known?.nodes.filter(({ where }) => where === 'msd') ?? already.nodes;
  // What is no longer there counted before.
  return { nodes: [...taken, ...nodes], stockBytes: known?.stockBytes ?? stock, weightBytes };
}
