/** The report of a layers model in memory: its layers as they are now. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { stockBytes } from '../graph-model/artifacts.ts';
import { reportOf } from '../graph-model/model.ts';
import type { ModelReport, NodeReport } from '../report.ts';
import { kindNamed, type LayerInternals } from './kinds.ts';
import { reportWithLeftAlone } from './left-alone.ts';
import { floatsOf, type Place, variablesOf } from './places.ts';
import { keptLayer, leftAlone } from './plan.ts';
import { recurrentNode } from './recurrent/loaded.ts';
import { nodeOf, packedOf } from './variable.ts';

const reasons = /* @__PURE__ */ new WeakMap<LayerInternals, string>();

/** Why a layer was left alone when it was looked at last. */
export const setReason = (layer: LayerInternals, reason: string): void => void reasons.set(layer, reason);

export function describe(model: LayersModel, places: readonly Place[]): ModelReport {
  const before = reportOf(model)?.nodes ?? [];
  const nodes = places.flatMap((place): NodeReport[] => {
    const { layer, name } = place;
    const recurrent = recurrentNode(place, before, reasons.get(layer));
    if (recurrent) return [recurrent];
    const kind = kindNamed(layer.getClassName());
    if (!kind) return [];
    const weight = layer[kind.weight];
    const packed = weight && packedOf(weight);
    if (!packed) return [leftAlone({ kind, name }, reasons.get(layer) ?? 'not looked at')];
    const known = nodeOf(weight) ?? before.find((node) => node.name === name && node.msdOp === kind.msd);
    return [known ?? keptLayer({ kind, name }, packed.spec)];
  });
  let [stock, weightBytes] = [0, 0];
  for (const weight of variablesOf(model)) {
    const bytes = stockBytes(floatsOf(weight));
    stock += bytes;
    weightBytes += packedOf(weight)?.byteLength ?? bytes;
  }
  const all = places.map(({ layer, name, outermost }) => ({
    name,
    className: layer.getClassName(),
    weights: outermost.weights.map(floatsOf),
  }));
  return { nodes: reportWithLeftAlone(nodes, all), stockBytes: stock, weightBytes };
}
