/** A file of a layers model -> the same with MSD's classes and weights of integers in it. */
import type { io } from '@tensorflow/tfjs-core';
import { ModelFormatError, shown } from '../errors.ts';
import { stockBytes } from '../graph-model/artifacts.ts';
import type { RewriteOptions } from '../graph-model/rewrite.ts';
import type { RewrittenArtifacts } from '../loading/load.ts';
import type { ModelReport, NodeReport } from '../report.ts';
import { isOlder, upgrade } from '../saved.ts';
import { sizeOf } from '../shapes.ts';
import { realShape } from '../spec.ts';
import { readable, readManifest, type StoredWeight, type WeightSpec } from '../weights/manifest.ts';
import { fileConstant } from '../weights/source.ts';
import { packedConfig, specOf } from './classes.ts';
import { DEPTHWISE_LAYER, DEPTHWISE_LEAF, depthwiseNode } from './depthwise.ts';
import { fieldOf, isSpatial, KINDS, kindOf } from './kinds.ts';
import { type AnyPlace, reportWithLeftAlone, weightsByLayer } from './left-alone.ts';
import { type Candidate, isTransparent, keptLayer, leftAlone, packLayer, planOf, whyClipped } from './plan.ts';
import { rewriteRecurrent } from './recurrent/file.ts';
import { replacedBy } from './register.ts';
import { checkWiring } from './wiring.ts';

interface LayerConfig {
  class_name?: string;
  config?: Record<string, unknown> | LayerConfig[];
}

/** A layer with the names of the wrappers around it, outermost first. */
interface Place {
  readonly layer: LayerConfig;
  readonly config: Record<string, unknown>;
  readonly path: readonly string[];
  readonly wrapper?: string;
}

/** Every layer of a model, of the models in it and of wrappers. */
function layersOf(model: LayerConfig): Place[] {
  const { config } = model;
  if (!Array.isArray(config)) checkWiring(config ?? {});
  const list = Array.isArray(config) ? config : config?.layers;
  return Array.isArray(list) ? list.flatMap((layer) => placesOf(layer, [])) : [];
}

function placesOf(layer: LayerConfig, outer: readonly string[], wrapper?: string): Place[] {
  if (typeof layer !== 'object' || layer === null)
    throw new ModelFormatError(`model: layers, expected objects with a config, got ${shown(layer)}.`);
  const { config } = layer;
  if (Array.isArray(config) || Array.isArray(config?.layers)) return layersOf(layer);
  if (typeof config !== 'object' || config === null) return []; // tfjs says what is wrong
  const path = [...outer, String(config.name)];
  const inner = config.layer as LayerConfig | undefined;
  if (inner?.config) return placesOf(inner, path, isTransparent(wrapper) ? String(layer.class_name) : wrapper);
  return [{ layer, config, path, ...(wrapper !== undefined && { wrapper }) }];
}

export function rewriteLayers(
  artifacts: io.ModelArtifacts,
  options: RewriteOptions,
  replaced: ReadonlySet<string>,
  given?: ReadonlyMap<string, StoredWeight>,
): RewrittenArtifacts {
  const { modelTopology, weightSpecs, weightData } = artifacts;
  if (typeof modelTopology !== 'object' || modelTopology === null)
    throw new ModelFormatError(`model: modelTopology, expected an object, got ${shown(modelTopology)}.`);
  const topology = structuredClone(modelTopology) as { model_config?: LayerConfig } & LayerConfig;
  const root = topology.model_config ?? topology;
  if (typeof root.config !== 'object' || root.config === null)
    throw new ModelFormatError('model: modelTopology, expected a model with a config. Is it a layers model?');
  const places = layersOf(root);
  const packed = new Map<string, Int32Array<ArrayBuffer>>();
  if (weightData == null) return { artifacts, report: withoutWeights(places), packed };
  if (weightSpecs == null)
    throw new ModelFormatError(
      'model: LayersModel artifacts contains weight data, but not weight specs. Therefore loading of weights cannot proceed.',
    );
  const stored = given ?? readManifest(weightSpecs, weightData);
  const isCnn = places.some(({ layer, config }) => isSpatial(layer.class_name, fieldOf(config)));
  const found = places.flatMap((place) => {
    const kind = kindOf(place.layer.class_name);
    return kind ? [{ ...place, kind, weight: weightOf(place.path, kind.leaf, stored) }] : [];
  });

  const nodes: NodeReport[] = [];
  const floatBytes = new Map<string, number>();
  for (const place of places) {
    const already = takePacked(place, stored, packed);
    if (!already) continue;
    nodes.push(already.node);
    floatBytes.set(already.weight, already.floatBytes);
  }

  for (const { layer, config, path, wrapper, kind, weight } of found) {
    const name = path.join('/');
    const refuse = (reason: string) => void nodes.push(leftAlone({ kind, name }, reason));
    if (replaced.has(kind.stock)) {
      refuse(replacedBy(kind.stock));
      continue;
    }
    if (!isTransparent(wrapper)) {
      refuse(`inside of ${wrapper}`);
      continue;
    }
    if (options.keepTrainable && config.trainable !== false) {
      refuse('trainable, and keepTrainable is set');
      continue;
    }
    const clipped = whyClipped(config);
    if (clipped !== undefined) {
      refuse(clipped);
      continue;
    }
    if (!weight) {
      refuse(`its ${kind.leaf} is not in the manifest under its name`);
      continue;
    }
    if (found.filter((other) => other.weight === weight).length > 1) {
      refuse('another layer of that name reads the same weights');
      continue;
    }
    const constant = fileConstant(weight);
    if (constant.dtype !== 'float32' || constant.shape.length < 2 || constant.shape.includes(0)) {
      refuse(`${kind.leaf} of ${constant.dtype} [${constant.shape}]`);
      continue;
    }
    const candidate: Candidate = { kind, name, shape: constant.shape, config: fieldOf(config) };
    const view = planOf(candidate, isCnn, options);
    if ('reason' in view) {
      refuse(view.reason);
      continue;
    }
    const taken = packLayer(candidate, view, constant.stored(), constant.byteLength, options);
    if ('reason' in taken) {
      refuse(taken.reason);
      continue;
    }
    packed.set(weight.spec.name, taken.packed.data);
    layer.class_name = kind.msd;
    config.packed = packedConfig(taken.packed.spec);
    nodes.push(taken.node);
  }

  for (const place of places)
    if (place.layer.class_name === DEPTHWISE_LAYER)
      nodes.push(rewriteDepthwise(place, stored, { isCnn, replaced, options }));
  nodes.push(...rewriteRecurrent(places, stored, packed, replaced, options));

  const specs: WeightSpec[] = [];
  const data: ArrayBuffer[] = [];
  let [weightBytes, stock] = [0, 0];
  for (const [name, { spec, bytes }] of stored) {
    const replacement = packed.get(name);
    specs.push(replacement ? { name, shape: [replacement.length], dtype: 'int32' } : spec);
    data.push(replacement?.buffer ?? bytes().buffer);
    if (spec.group === 'optimizer') continue; // no weights of the model
    stock += floatBytes.get(name) ?? stockBytes(spec);
    weightBytes += replacement?.byteLength ?? stockBytes(spec);
  }
  return {
    artifacts: {
      ...artifacts,
      modelTopology: topology,
      weightSpecs: specs as io.WeightsManifestEntry[],
      weightData: readable(data),
    },
    report: { nodes: withLeftAlone(nodes, places, stored), stockBytes: stock, weightBytes },
    packed,
  };
}

/** Its weights stay what they are. */
function rewriteDepthwise(
  { layer, config, path, wrapper }: Place,
  stored: ReadonlyMap<string, StoredWeight>,
  {
    isCnn,
    replaced,
    options,
  }: { readonly isCnn: boolean; readonly replaced: ReadonlySet<string>; readonly options: RewriteOptions },
): NodeReport {
  const name = path.join('/');
  const refused = (reason: string): NodeReport => ({ name, op: DEPTHWISE_LAYER, where: 'tfjs', reason });
  if (!isTransparent(wrapper)) return refused(`inside of ${wrapper}`);
  if (replaced.has(DEPTHWISE_LAYER)) return refused(replacedBy(DEPTHWISE_LAYER));
  const shape = weightOf(path, DEPTHWISE_LEAF, stored)?.spec.shape;
  if (!shape) return refused(`its ${DEPTHWISE_LEAF} is not in the manifest under its name`);
  const node = depthwiseNode({ name, shape, config: fieldOf(config) }, isCnn, options);
  if (node.where === 'msd') layer.class_name = node.msdOp!;
  return node;
}

/** A topology alone: tfjs initializes the layers. */
function withoutWeights(places: readonly Place[]): ModelReport {
  const nodes = places.flatMap(({ layer, path }) => {
    const kind = kindOf(layer.class_name);
    return kind ? [leftAlone({ kind, name: path.join('/') }, 'the file has no weights: initialized as in tfjs')] : [];
  });
  return { nodes, stockBytes: 0, weightBytes: 0 };
}

function withLeftAlone(
  nodes: readonly NodeReport[],
  places: readonly Place[],
  stored: ReadonlyMap<string, StoredWeight>,
): NodeReport[] {
  const outermost = new Set(places.map(({ path }) => path[0]!));
  const owned = weightsByLayer(
    [...stored.values()].flatMap(({ spec }) => (spec.group === 'optimizer' ? [] : [spec])),
    outermost,
  );
  const all = places.map(({ layer, path }): AnyPlace => {
    const weights = owned.get(path[0]!) ?? [];
    return { name: path.join('/'), className: String(layer.class_name), weights };
  });
  const others = (owned.get('') ?? []).map(
    (spec): AnyPlace => ({ name: spec.name, className: 'a weight of no layer', weights: [spec] }),
  );
  return reportWithLeftAlone(nodes, [...all, ...others]);
}

/** A layer that was saved as MSD's. */
interface Already {
  readonly node: NodeReport;
  /** Name of its weight. */
  readonly weight: string;
  /** Of what tfjs would keep instead. */
  readonly floatBytes: number;
}

/** Models that were saved with MSD's layers: each spec has to fit what the manifest holds, older ones are repacked. */
function takePacked(
  { layer, config, path }: Place,
  stored: ReadonlyMap<string, StoredWeight>,
  packed: Map<string, Int32Array<ArrayBuffer>>,
): Already | undefined {
  const kind = KINDS.find(({ msd }) => msd === layer.class_name);
  if (!kind) return undefined;
  const name = path.join('/');
  const where = `model: ${kind.msd} ${shown(name)}`;
  const found = weightOf(path, kind.leaf, stored);
  const weight = found?.spec;
  if (!found || weight?.dtype !== 'int32' || weight.quantization)
    throw new ModelFormatError(
      `${where}: ${kind.leaf}, expected plain int32 weights, got ${weight?.dtype ?? 'none of that name'}.`,
    );
  try {
    let spec = specOf(config.packed, where, sizeOf(weight.shape));
    if (isOlder(spec)) {
      const upgraded = upgrade(spec, new Int32Array(found.bytes().buffer));
      spec = upgraded.spec;
      config.packed = packedConfig(spec);
      packed.set(weight.name, upgraded.data);
    }
    return { node: keptLayer({ kind, name }, spec), weight: weight.name, floatBytes: 4 * sizeOf(realShape(spec)) };
  } catch (cause) {
    throw new ModelFormatError((cause as Error).message, { cause });
  }
}

/**
 * `dense_1/kernel`, or with names in between as Keras writes them for nested scopes. A wrapped layer's weights bear the name
 * of the outermost wrapper, in some files its own too.
 */
function weightOf(
  path: readonly string[],
  leaf: string,
  weights: ReadonlyMap<string, StoredWeight>,
): StoredWeight | undefined {
  const exact = weights.get(`${path[0]}/${leaf}`);
  if (exact) return exact;
  const matches = [...weights.values()].filter(({ spec }) => {
    const parts = spec.name.split('/');
    const isLeaf = parts.pop()?.replace(/:0$/, '') === leaf;
    return isLeaf && (parts.at(-1) === path[0] || parts.slice(-path.length).join() === path.join());
  });
  return matches.length === 1 ? matches[0] : undefined;
}
