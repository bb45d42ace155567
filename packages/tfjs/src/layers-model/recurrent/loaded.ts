/** Recurrent layers of a model that is loaded or built already: their cells run on packed weights, in place. */
import { stockBytes } from '../../graph-model/artifacts.ts';
import type { RewriteOptions } from '../../graph-model/rewrite.ts';
import type { NodeReport } from '../../report.ts';
import { requireRegistration } from '../../state.ts';
import type { Tensor } from '../../tf.ts';
import type { LayerInternals, LayerVariable } from '../kinds.ts';
import type { CellSpecs } from './cell.ts';
import { configOfPacked, type PackedCell, runCell, runLayer, type StockClasses } from './classes.ts';
import {
  type CellInternals,
  LEAVES,
  type Leaf,
  RECURRENT_KINDS,
  type RecurrentInternals,
  type RecurrentKind,
} from './kinds.ts';
import { type CellWeights, type PackedCellWeights, packCell, takenNode, whyNotCell } from './plan.ts';

/** A layer, as the walk over a model finds it. */
export interface LoadedPlace {
  readonly layer: LayerInternals;
  readonly name: string;
  /** Class name of the wrapper, and the wrapper. */
  readonly wrapper?: string;
  readonly parent?: object;
  readonly isTraining: boolean;
}

/** One cell, with the layer around it unless that is an RNN. */
interface Site {
  readonly kind: RecurrentKind;
  readonly cell: CellInternals;
  readonly layer?: RecurrentInternals;
  readonly way: 'ahead' | 'back';
}

/** What is to be done to a layer. */
export interface TakenLayer {
  /** @returns what makes it a stock one again */
  takeOver(restorable: boolean): () => void;
}

/**
 * Packs, and changes nothing yet.
 *
 * @param owners how many layers have a variable
 */
export async function planRecurrent(
  place: LoadedPlace,
  classes: ReadonlyMap<RecurrentKind, StockClasses>,
  owners: (variable: LayerVariable) => number,
  options: RewriteOptions,
): Promise<{ readonly taken?: TakenLayer; readonly node: NodeReport } | undefined> {
  const sites = sitesOf(place);
  if (sites.length === 0) return undefined;
  const { name, layer } = place;
  const op = layer.getClassName();
  const forbidden = sites.map((site) => whyForbidden(place, site, classes, owners)).find(Boolean);
  const refused = (reason: string) => ({ node: { name, op, where: 'tfjs', reason } as const });
  if (forbidden !== undefined) return refused(forbidden);
  const weights: CellWeights[] = [];
  for (const { cell } of sites) weights.push(await weightsOf(cell));
  for (const [i, { kind }] of sites.entries()) {
    const reason = whyNotCell(kind, weights[i]!, options);
    if (reason !== undefined) return refused(reason);
  }
  const packed = sites.map(({ kind }, i) => packCell(kind, weights[i]!, options));
  const msdOp = sites.map(({ kind, layer: own }) => (own ? kind.msd : kind.msdCell));
  const node = takenNode(name, op, place.wrapper === 'Bidirectional' ? msdOp[0]! : msdOp.join(' + '), packed);
  return { node, taken: { takeOver: (restorable) => takeOver(place, sites, packed, restorable) } };
}

function sitesOf({ layer, wrapper, parent }: LoadedPlace): Site[] {
  const kind = RECURRENT_KINDS.find(({ stock }) => stock === layer.getClassName());
  if (kind && wrapper === 'Bidirectional') {
    const { forwardLayer, backwardLayer } = parent as Record<'forwardLayer' | 'backwardLayer', RecurrentInternals>;
    return [forwardLayer, backwardLayer].map((own) => siteOf(kind, own));
  }
  if (kind) return [siteOf(kind, layer as RecurrentInternals)];
  if (layer.getClassName() !== 'RNN') return [];
  const { cell } = layer as RecurrentInternals & { cell: CellInternals & { cells?: CellInternals[] } };
  return (cell.getClassName() === 'StackedRNNCells' ? cell.cells! : [cell]).flatMap((one) => {
    const own = RECURRENT_KINDS.find(({ stockCell }) => stockCell === one.getClassName());
    return own ? [{ kind: own, cell: one, way: 'ahead' as const }] : [];
  });
}

const siteOf = (kind: RecurrentKind, layer: RecurrentInternals): Site => ({
  kind,
  layer,
  cell: layer.cell,
  way: layer.goBackwards ? 'back' : 'ahead',
});

function whyForbidden(
  { wrapper, isTraining }: LoadedPlace,
  { kind, cell, layer }: Site,
  classes: ReadonlyMap<RecurrentKind, StockClasses>,
  owners: (variable: LayerVariable) => number,
): string | undefined {
  const stock = classes.get(kind)!;
  if (wrapper !== undefined && wrapper !== 'TimeDistributed' && wrapper !== 'Bidirectional')
    return `inside of ${wrapper}`;
  if (cell.constructor !== stock.cell || (layer && layer.constructor !== stock.layer))
    return `a class of its own behind the name ${layer ? kind.stock : kind.stockCell}`;
  if (Object.hasOwn(cell, 'call') || (layer && Object.hasOwn(layer, 'call'))) return 'its call has been replaced';
  if (!cell.kernel || !cell.recurrentKernel) return 'not built yet';
  if (isTraining) return 'the model is being trained';
  return [cell.kernel, cell.recurrentKernel].some((weight) => owners(weight) > 1)
    ? 'shares its kernels with another layer'
    : undefined;
}

const PROPERTIES = { kernel: 'kernel', recurrent_kernel: 'recurrentKernel' } as const;

async function weightsOf(cell: CellInternals): Promise<CellWeights> {
  const weights = LEAVES.map(async (leaf) => {
    const tensor = cell[PROPERTIES[leaf]].read();
    const values = await tensor.data<'float32'>();
    const { shape, dtype } = tensor;
    return [
      leaf,
      { shape, dtype, byteLength: stockBytes(tensor), stored: () => ({ kind: 'float32', values }) },
    ] as const;
  });
  return Object.fromEntries(await Promise.all(weights)) as unknown as CellWeights;
}

function takeOver(
  { layer: template, wrapper }: LoadedPlace,
  sites: readonly Site[],
  packed: readonly PackedCellWeights[],
  restorable: boolean,
): () => void {
  const both: PackedCell = Object.fromEntries(sites.map(({ way }, i) => [way, packed[i]!.specs]));
  const isBoth = wrapper === 'Bidirectional';
  const undo = sites.map((site, i) => {
    const { specs, data } = packed[i]!;
    return takeSite(site, specs, data, isBoth ? both : { [site.way]: specs }, restorable);
  });
  // A Bidirectional is saved as the layer that its two were copied from.
  if (isBoth) undo.push(rename(sites[0]!.kind, template as RecurrentInternals, both));
  return () => {
    for (const back of undo.reverse()) back();
  };
}

function takeSite(
  { kind, cell, layer }: Site,
  specs: CellSpecs,
  data: Readonly<Record<Leaf, Int32Array<ArrayBuffer>>>,
  saved: PackedCell,
  restorable: boolean,
): () => void {
  const undo = LEAVES.map((leaf) => swapWeight(cell, leaf, data[leaf], restorable));
  undo.push(
    replace(cell, {
      call: (inputs: Tensor | Tensor[], kwargs: object) => runCell(kind, cell, specs, inputs, kwargs),
      getClassName: () => kind.msdCell,
      getConfig: configWith(cell, saved),
    }),
  );
  if (layer) {
    const step = layer.call.bind(layer);
    const call = (inputs: Tensor | Tensor[], kwargs: object) =>
      runLayer(kind, layer, specs, inputs, kwargs, () => step(inputs, kwargs));
    // Its config has that of its cell in it.
    undo.push(replace(layer, { call, getClassName: () => kind.msd }));
  }
  return () => {
    for (const back of undo.reverse()) back();
  };
}

/** For layers that are never built. */
function rename(kind: RecurrentKind, layer: RecurrentInternals, saved: PackedCell): () => void {
  const undo = [
    replace(layer.cell, { getConfig: configWith(layer.cell, saved) }),
    replace(layer, { getClassName: () => kind.msd }),
  ];
  return () => {
    for (const back of undo.reverse()) back();
  };
}

function configWith(cell: CellInternals, saved: PackedCell): () => Record<string, unknown> {
  const stock = cell.getConfig.bind(cell);
  return () => ({ ...stock(), packed: configOfPacked(saved) });
}

/** @returns what puts back what was there */
function replace(of: object, members: Readonly<Record<string, unknown>>): () => void {
  const own = Object.getOwnPropertyDescriptors(of) as Record<string, PropertyDescriptor>;
  Object.assign(of, members);
  return () => {
    for (const name of Object.keys(members))
      if (Object.hasOwn(own, name)) Object.defineProperty(of, name, own[name]!);
      else delete (of as Record<string, unknown>)[name];
  };
}

type Variable = LayerVariable & { val: Tensor; readonly name: string; readonly trainable: boolean };

/** The packed weight stands where the float one stood. That one comes back as the very same variable. */
function swapWeight(cell: CellInternals, leaf: Leaf, data: Int32Array<ArrayBuffer>, restorable: boolean): () => void {
  const { tf } = requireRegistration('accelerate');
  const property = PROPERTIES[leaf];
  const float = cell[property] as Variable;
  const values = restorable ? float.read().dataSync<'float32'>().slice() : undefined;
  const { shape } = float;
  const Class = float.constructor as new (
    val: Tensor,
    dtype: string,
    name: string,
    trainable: boolean,
  ) => LayerVariable;
  const tensor = tf.tensor1d(data, 'int32');
  float.dispose(); // its name is free for the other one
  const packed = new Class(tensor, 'int32', float.originalName, false);
  tensor.dispose();
  const before = { trainable: cell._trainableWeights, fixed: cell._nonTrainableWeights };
  cell[property] = packed;
  cell._trainableWeights = before.trainable.filter((weight) => weight !== float);
  cell._nonTrainableWeights = [...before.fixed, packed].filter((weight) => weight !== float);
  return () => {
    packed.dispose();
    const restored = tf.tensor(values!, shape, 'float32');
    float.val = tf.variable(restored, float.trainable, float.name);
    restored.dispose();
    cell[property] = float;
    cell._trainableWeights = before.trainable;
    cell._nonTrainableWeights = before.fixed;
  };
}
