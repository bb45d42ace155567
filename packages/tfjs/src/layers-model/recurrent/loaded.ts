/** Recurrent layers of a model that is loaded or built already: their cells run on packed weights, in place. */
import type { RewriteOptions } from '../../graph-model/rewrite.ts';
import type { NodeReport } from '../../report.ts';
import type { Tensor } from '../../tf.ts';
import type { LayerVariable } from '../kinds.ts';
import { ownersOf, type Place, replaceMembers } from '../places.ts';
import { isTransparent } from '../plan.ts';
import { nodeOf, packVariable, packedOf as quantizedOf, requirePacked, unpackVariable } from '../variable.ts';
import type { CellSpecs } from './cell.ts';
import { configOfPacked, type PackedCell, runCell, runLayer, type StockClasses } from './classes.ts';
import {
  type CellInternals,
  cellNamed,
  LEAVES,
  type Leaf,
  type RecurrentInternals,
  type RecurrentKind,
  recurrentNamed,
} from './kinds.ts';
import {
  type CellWeights,
  cellName,
  keptCell,
  type PackedCellWeights,
  packCell,
  takenNode,
  whyNotCell,
} from './plan.ts';

/** One cell, with the layer around it unless that is an RNN. */
interface Site {
  readonly kind: RecurrentKind;
  readonly cell: CellInternals;
  readonly layer?: RecurrentInternals;
  readonly way: 'ahead' | 'back';
}

/** A weight, and what it held when it was packed. */
export interface SeenWeight {
  readonly variable: LayerVariable;
  readonly dataId: object;
}

/** What is to be done to a layer. */
export interface PlannedLayer {
  readonly weights: readonly SeenWeight[];
  /** @returns what makes it a stock one again */
  takeOver(): () => void;
}

/** Packs, and changes nothing yet. @returns `undefined` for layers that are not recurrent, or packed already */
export async function planRecurrent(
  place: Place,
  classes: ReadonlyMap<RecurrentKind, StockClasses>,
  places: readonly Place[],
  options: RewriteOptions,
  { restorable, trainable }: { readonly restorable: boolean; readonly trainable: readonly LayerVariable[] },
): Promise<PlannedLayer | { readonly reason: string } | undefined> {
  const sites = sitesOf(place);
  if (sites.length === 0) return undefined;
  const { name, layer } = place;
  const forbidden = sites.map((site) => whyForbidden(place, site, classes, places, trainable)).find(Boolean);
  if (forbidden !== undefined) return { reason: forbidden };
  const planned: (Site & Pick<Prepared, 'own' | 'packed' | 'values'>)[] = [];
  const isStack = place.wrapper !== 'Bidirectional';
  for (const [i, site] of sites.entries()) {
    const { weights, own, values } = await weightsOf(site.cell);
    const reason = whyNotCell(site.kind, weights, options);
    const packed =
      reason === undefined
        ? packCell(site.kind, weights, options, cellName(name, i, isStack ? sites.length : 1))
        : { reason };
    if ('reason' in packed) return packed;
    planned.push({ ...site, own, packed, values });
  }
  const node = takenNode(
    name,
    layer.getClassName(),
    msdOpOf(place, sites),
    planned.map(({ packed }) => packed.weights),
  );
  const prepared = planned.map((one): Prepared => ({ ...one, restorable, node }));
  return { weights: planned.flatMap(({ own }) => own), takeOver: () => takeOver(place, prepared) };
}

/** Cells whose products can be watched, and the names that what they meet goes by. */
export function cellsOf(place: Place): { readonly name: string; readonly cell: CellInternals }[] {
  const sites = sitesOf(place);
  const count = place.wrapper === 'Bidirectional' ? 1 : sites.length;
  return sites.map(({ cell }, i) => ({ name: cellName(place.name, i, count), cell }));
}

/** A site with its packed weights. */
interface Prepared extends Site {
  readonly own: readonly SeenWeight[];
  readonly packed: PackedCellWeights;
  readonly values: Readonly<Record<Leaf, Float32Array>>;
  readonly restorable: boolean;
  readonly node: NodeReport;
}

/** The line of a recurrent layer as it is now. @param reason why it was left alone */
export function recurrentNode(
  place: Place,
  before: readonly NodeReport[],
  reason: string | undefined,
): NodeReport | undefined {
  const sites = sitesOf(place, true);
  if (sites.length === 0) return undefined;
  const { name, layer } = place;
  const op = recurrentNamed(layer.getClassName())?.stock ?? layer.getClassName();
  const all = sites.map(({ cell }) =>
    PROPERTIES_OF.map((property) => cell[property] && quantizedOf(cell[property])?.spec),
  );
  if (all.flat().some((spec) => !spec)) return { name, op, where: 'tfjs', reason: reason ?? 'not looked at' };
  const msdOp = msdOpOf(place, sites);
  const known = nodeOf(sites[0]!.cell.kernel) ?? before.find((node) => node.name === name && node.msdOp === msdOp);
  const specs = all.map(([kernel, recurrent]) => ({ kernel, recurrent }) as CellSpecs);
  return known ?? takenNode(name, op, msdOp, specs.map(keptCell));
}

/** The two layers of a Bidirectional are one. */
function msdOpOf({ wrapper }: Place, sites: readonly Site[]): string {
  const names = sites.map(({ kind, layer }) => (layer ? kind.msd : kind.msdCell));
  return wrapper === 'Bidirectional' ? names[0]! : names.join(' + ');
}

/** @param packed also those that are MSD's already */
function sitesOf({ layer, wrapper, parent }: Place, packed = false): Site[] {
  const isWanted = (name: string, own: { readonly stock: string } | undefined) =>
    own && (packed || !name.startsWith('Msd'));
  const kind = recurrentNamed(layer.getClassName());
  if (kind && !isWanted(layer.getClassName(), kind)) return [];
  if (kind && wrapper === 'Bidirectional') {
    const { forwardLayer, backwardLayer } = parent as Record<'forwardLayer' | 'backwardLayer', RecurrentInternals>;
    return [forwardLayer, backwardLayer].map((own) => siteOf(kind, own));
  }
  if (kind) return [siteOf(kind, layer as RecurrentInternals)];
  if (layer.getClassName() !== 'RNN') return [];
  const { cell } = layer as RecurrentInternals & { cell: CellInternals & { cells?: CellInternals[] } };
  return (cell.getClassName() === 'StackedRNNCells' ? cell.cells! : [cell]).flatMap((one) => {
    const own = cellNamed(one.getClassName());
    return own && isWanted(one.getClassName(), own) ? [{ kind: own, cell: one, way: 'ahead' as const }] : [];
  });
}

const siteOf = (kind: RecurrentKind, layer: RecurrentInternals): Site => ({
  kind,
  layer,
  cell: layer.cell,
  way: layer.goBackwards ? 'back' : 'ahead',
});

function whyForbidden(
  { wrapper, isTraining }: Place,
  { kind, cell, layer }: Site,
  classes: ReadonlyMap<RecurrentKind, StockClasses>,
  places: readonly Place[],
  trainable: readonly LayerVariable[],
): string | undefined {
  const stock = classes.get(kind)!;
  const weights = [cell.kernel, cell.recurrentKernel];
  if (!isTransparent(wrapper) && wrapper !== 'Bidirectional') return `inside of ${wrapper}`;
  if (cell.constructor !== stock.cell || (layer && layer.constructor !== stock.layer))
    return `a class of its own behind the name ${layer ? kind.stock : kind.stockCell}`;
  if (Object.hasOwn(cell, 'call') || (layer && Object.hasOwn(layer, 'call'))) return 'its call has been replaced';
  if (weights.some((weight) => !weight)) return 'not built yet';
  if (isTraining) return 'the model is being trained';
  if (weights.some((weight) => trainable.includes(weight))) return 'trainable, and keepTrainable is set';
  return weights.some((weight) => ownersOf(weight, places) > 1) ? 'shares its kernels with another layer' : undefined;
}

const PROPERTIES = { kernel: 'kernel', recurrent_kernel: 'recurrentKernel' } as const;
const PROPERTIES_OF = Object.values(PROPERTIES);

async function weightsOf(cell: CellInternals): Promise<{ weights: CellWeights } & Pick<Prepared, 'own' | 'values'>> {
  const own: SeenWeight[] = [];
  const values: Partial<Record<Leaf, Float32Array>> = {};
  const weights: Partial<Record<Leaf, CellWeights[Leaf]>> = {};
  for (const leaf of LEAVES) {
    const variable = cell[PROPERTIES[leaf]];
    const { val } = variable;
    own.push({ variable, dataId: val.dataId });
    const floats = await val.data<'float32'>();
    values[leaf] = floats;
    const stored = () => ({ kind: 'float32', values: floats }) as const;
    weights[leaf] = { shape: val.shape, dtype: val.dtype, byteLength: 4 * val.size, stored };
  }
  return { weights: weights as CellWeights, own, values: values as Record<Leaf, Float32Array> };
}

function takeOver({ layer: template, wrapper }: Place, sites: readonly Prepared[]): () => void {
  const isBoth = wrapper === 'Bidirectional';
  const saved = (of: readonly Prepared[]): PackedCell =>
    Object.fromEntries(of.map(({ way, cell }) => [way, specsNow(cell)]));
  const undo = sites.map((site) => takeSite(site, () => saved(isBoth ? sites : [site])));
  // A Bidirectional is saved as the layer that its two were copied from, which is never built.
  if (isBoth) {
    const { cell } = template as RecurrentInternals;
    undo.push(replaceMembers(cell, { getConfig: configWith(cell, () => saved(sites)) }));
    undo.push(replaceMembers(template, { getClassName: () => sites[0]!.kind.msd }));
  }
  return inReverse(undo);
}

function takeSite(
  { kind, cell, layer, packed, values, restorable, node }: Prepared,
  saved: () => PackedCell,
): () => void {
  const undo = LEAVES.map((leaf) => {
    const weight = cell[PROPERTIES[leaf]];
    const kept = restorable ? values[leaf].slice() : undefined;
    packVariable(weight, packed.packed[leaf], { shape: weight.shape, kept, node });
    return () => unpackVariable(weight);
  });
  undo.push(
    replaceMembers(cell, {
      call: (inputs: Tensor | Tensor[], kwargs: object) => runCell(kind, cell, inputs, kwargs),
      getClassName: () => kind.msdCell,
      getConfig: configWith(cell, saved),
    }),
  );
  if (layer) {
    const step = layer.call.bind(layer);
    const call = (inputs: Tensor | Tensor[], kwargs: object) =>
      runLayer(kind, layer, inputs, kwargs, () => step(inputs, kwargs));
    // Its config has that of its cell in it.
    undo.push(replaceMembers(layer, { call, getClassName: () => kind.msd }));
  }
  return inReverse(undo);
}

const inReverse = (undo: readonly (() => void)[]) => () => {
  for (const back of [...undo].reverse()) back();
};

const specsNow = (cell: CellInternals): CellSpecs =>
  ({ kernel: requirePacked(cell.kernel).spec, recurrent: requirePacked(cell.recurrentKernel).spec }) as CellSpecs;

function configWith(cell: CellInternals, saved: () => PackedCell): () => Record<string, unknown> {
  const stock = cell.getConfig.bind(cell);
  return () => ({ ...stock(), packed: configOfPacked(saved()) });
}
