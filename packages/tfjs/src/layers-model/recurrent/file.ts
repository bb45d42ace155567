/** Recurrent layers of a file: where their cells are in the config, and their weights in the manifest. */
import { ModelFormatError } from '../../errors.ts';
import type { RewriteOptions } from '../../graph-model/rewrite.ts';
import type { NodeReport } from '../../report.ts';
import { sizeOf } from '../../shapes.ts';
import { checkSpec } from '../../spec.ts';
import type { StoredWeight } from '../../weights/manifest.ts';
import { fileConstant } from '../../weights/source.ts';
import { fieldOf } from '../kinds.ts';
import { whyClipped } from '../plan.ts';
import { configOfPacked, packedOf, wayOf } from './classes.ts';
import { LEAVES, type Leaf, RECURRENT_KINDS, type RecurrentKind } from './kinds.ts';
import { type CellWeights, cellName, type PackedCellWeights, packCell, takenNode, whyNotCell } from './plan.ts';

interface Config {
  class_name?: string;
  config?: Record<string, unknown> | Config[];
}

/** A layer, as the walk over a file finds it. */
export interface FilePlace {
  readonly layer: Config;
  readonly config: Record<string, unknown>;
  readonly path: readonly string[];
  readonly wrapper?: string;
}

/** One config that becomes one of MSD's, and the scopes of the weights that are made from it. */
interface Site {
  readonly kind: RecurrentKind;
  readonly config: Record<string, unknown>;
  readonly rename: () => void;
  /** Class names, before and after. */
  readonly op: string;
  readonly msdOp: string;
  readonly ahead?: string;
  readonly back?: string;
  readonly isMsd: boolean;
}

type Stored = ReadonlyMap<string, StoredWeight>;

/**
 * @param packed gets the integers, by the names of the weights
 * @param replaced names behind which there are classes of somebody's own
 */
export function rewriteRecurrent(
  places: readonly FilePlace[],
  stored: Stored,
  packed: Map<string, Int32Array<ArrayBuffer>>,
  replaced: ReadonlySet<string>,
  options: RewriteOptions,
): NodeReport[] {
  const seen = new Map<string, number>();
  for (const { path } of places) seen.set(path[0]!, (seen.get(path[0]!) ?? 0) + 1);
  return places.flatMap((place): NodeReport[] => {
    const name = place.path.join('/');
    const sites = sitesOf(place);
    for (const site of sites) if (site.isMsd) checkSaved(site, name, stored);
    const fresh = sites.filter(({ isMsd }) => !isMsd);
    if (fresh.length === 0) return [];
    const op = String(place.layer.class_name);
    const refused = (reason: string): NodeReport[] => [{ name, op, where: 'tfjs', reason }];
    const own = fresh.find((site) => replaced.has(site.op));
    if (own) return refused(`a class of its own behind the name ${own.op}`);
    if (place.wrapper !== undefined && place.wrapper !== 'TimeDistributed' && place.wrapper !== 'Bidirectional')
      return refused(`inside of ${place.wrapper}`);
    if (options.keepTrainable && place.config.trainable !== false)
      return refused('trainable, and keepTrainable is set');
    const clipped = whyClipped(place.config);
    if (clipped !== undefined) return refused(clipped);
    if (seen.get(place.path[0]!)! > 1) return refused('another layer of that name reads the same weights');
    const found = fresh.map((site) => [site, weightsOf(site, stored)] as const);
    for (const [site, ways] of found) {
      if (ways.length === 0) return refused('its kernels are not in the manifest under its name');
      const reason = ways.map(({ weights }) => whyNotCell(site.kind, weights, options)).find(Boolean);
      if (reason !== undefined) return refused(reason);
    }
    const taken: { site: Site; ways: (Way & { cell: PackedCellWeights })[] }[] = [];
    for (const [i, [site, all]] of found.entries()) {
      const ways: (Way & { cell: PackedCellWeights })[] = [];
      for (const way of all) {
        const cell = packCell(site.kind, way.weights, options, cellName(name, i, found.length));
        if ('reason' in cell) return refused(cell.reason);
        ways.push({ ...way, cell });
      }
      taken.push({ site, ways });
    }
    for (const { site, ways } of taken) {
      for (const { names, cell } of ways) for (const leaf of LEAVES) packed.set(names[leaf], cell.packed[leaf].data);
      site.rename();
      site.config.packed = configOfPacked(Object.fromEntries(ways.map(({ way, cell }) => [way, cell.specs])));
    }
    const all = taken.flatMap(({ ways }) => ways.map(({ cell }) => cell.weights));
    return [takenNode(name, op, taken.map(({ site }) => site.msdOp).join(' + '), all)];
  });
}

function sitesOf({ layer, config, path, wrapper }: FilePlace): Site[] {
  const [outermost] = path as [string];
  const own = siteOf(layer, config, 'layer');
  if (own) {
    const last = path.at(-1)!;
    const begins = fieldOf(config)('goBackwards') === true;
    const scopes: Pick<Site, 'ahead' | 'back'> =
      wrapper === 'Bidirectional'
        ? {
            [begins ? 'back' : 'ahead']: `${outermost}/forward_${last}`,
            [begins ? 'ahead' : 'back']: `${outermost}/backward_${last}`,
          }
        : { [begins ? 'back' : 'ahead']: outermost };
    return [{ ...own, ...scopes }];
  }
  const cell = config.cell as Config | undefined;
  if (layer.class_name !== 'RNN' || !isConfig(cell?.config)) return [];
  const cells = (cell.class_name === 'StackedRNNCells' ? cell.config.cells : undefined) as Config[] | undefined;
  if (cells !== undefined && !Array.isArray(cells)) return []; // tfjs says what is wrong
  return (cells ?? [cell]).flatMap((one, i) => {
    const site = isConfig(one?.config) ? siteOf(one, one.config, 'cell') : undefined;
    return site ? [{ ...site, ahead: cells ? `${outermost}/RNNCell_${i}` : outermost }] : [];
  });
}

const isConfig = (config: unknown): config is Record<string, unknown> =>
  typeof config === 'object' && config !== null && !Array.isArray(config);

function siteOf(of: Config, config: Record<string, unknown>, what: 'layer' | 'cell'): Site | undefined {
  const names = what === 'layer' ? (['stock', 'msd'] as const) : (['stockCell', 'msdCell'] as const);
  const kind = RECURRENT_KINDS.find((one) => names.some((name) => one[name] === of.class_name));
  if (!kind) return undefined;
  const [op, msdOp] = names.map((name) => kind[name]) as [string, string];
  return { kind, config, op, msdOp, rename: () => (of.class_name = msdOp), isMsd: of.class_name === msdOp };
}

interface Way {
  readonly way: 'ahead' | 'back';
  readonly weights: CellWeights;
  readonly names: Readonly<Record<Leaf, string>>;
}

/** Of all ways, or of none. */
function weightsOf(site: Site, stored: Stored): Way[] {
  const ways = (['ahead', 'back'] as const).flatMap((way) =>
    site[way] === undefined ? [] : [[way, site[way]] as const],
  );
  const found = ways.flatMap(([way, scope]) => {
    const [kernel, own] = LEAVES.map((leaf) => weightIn(scope, leaf, stored));
    if (!kernel || !own) return [];
    const weights = { kernel: fileConstant(kernel), recurrent_kernel: fileConstant(own) };
    return [{ way, weights, names: { kernel: kernel.spec.name, recurrent_kernel: own.spec.name } }];
  });
  return found.length === ways.length ? found : [];
}

/** As tfjs-layers finds it: by its name, or with a cell's before the last part; Keras may write scopes of models before it. */
function weightIn(scope: string, leaf: Leaf, stored: Stored): StoredWeight | undefined {
  const exact = stored.get(`${scope}/${leaf}`);
  if (exact) return exact;
  const matches = [...stored.values()].filter(({ spec }) => {
    const parts = spec.name.split('/');
    if (parts.pop()?.replace(/:0$/, '') !== leaf) return false;
    const before = `/${parts.join('/')}`;
    return before.endsWith(`/${scope}`) || `/${parts.slice(0, -1).join('/')}`.endsWith(`/${scope}`);
  });
  return matches.length === 1 ? matches[0] : undefined;
}

/** A model that was saved with MSD's layers: each spec has to fit what the manifest holds. */
function checkSaved(site: Site, name: string, stored: Stored): void {
  const where = `model: ${site.msdOp} ${name}`;
  try {
    const packed = packedOf(site.config.packed, site.kind, where);
    for (const way of ['ahead', 'back'] as const) {
      const scope = site[way];
      if (scope === undefined) continue;
      const specs = packed[wayOf(packed, way === 'back')]!;
      for (const [leaf, spec] of [
        ['kernel', specs.kernel],
        ['recurrent_kernel', specs.recurrent],
      ] as const) {
        const weight = weightIn(scope, leaf, stored)?.spec;
        if (weight?.dtype !== 'int32' || weight.quantization)
          throw new TypeError(
            `${where}: ${leaf}, expected plain int32 weights, got ${weight?.dtype ?? 'none of that name'}.`,
          );
        checkSpec(spec, sizeOf(weight.shape), where);
      }
    }
  } catch (cause) {
    throw new ModelFormatError((cause as Error).message, { cause });
  }
}
