/**
 * MSD's recurrent classes: the stock ones with both kernels as packed integers. tfjs-layers deserializes, runs, saves and loads them
 * like any other; Bidirectional, RNN, StackedRNNCells and TimeDistributed stay stock.
 */
import type { LayersNamespace } from '../../peers.ts';
import { runRecurrent } from '../../recurrent/layer.ts';
import { upgradedSpec, upgradeFirstWrite } from '../../saved.ts';
import { int32Length, type MatrixSpec } from '../../spec.ts';
import { requireRegistration } from '../../state.ts';
import type { Tensor } from '../../tf.ts';
import { packedConfig, specOf } from '../classes.ts';
import type { LayerVariable } from '../kinds.ts';
import { type CellSpecs, kernelOf, recurrentKernelOf, stepCell } from './cell.ts';
import { type CellInternals, LEAVES, RECURRENT_KINDS, type RecurrentInternals, type RecurrentKind } from './kinds.ts';

type Config = Record<string, unknown>;
type CellClass = new (config: Config) => CellInternals;
type RecurrentClass = new (config: Config) => RecurrentInternals;

export interface StockClasses {
  readonly layer: RecurrentClass;
  readonly cell: CellClass;
}

/**
 * Both layers of a Bidirectional are made from one config. So it may hold specs for each way: `ahead`, and `back` for layers that
 * begin with the last position. Only lower-case words survive tfjs-layers.
 */
export interface PackedCell {
  readonly ahead?: CellSpecs | undefined;
  readonly back?: CellSpecs | undefined;
}

/** How many matrices a recurrent kernel has, its class knows. */
const configOfSpecs = ({ kernel, recurrent }: CellSpecs): Config => ({
  kernel: packedConfig(kernel),
  recurrent: packedConfig(recurrent),
});

export const configOfPacked = ({ ahead, back }: PackedCell): Config => ({
  ...(ahead && { ahead: configOfSpecs(ahead) }),
  ...(back && { back: configOfSpecs(back) }),
});

/** The way back, checked. */
export function packedOf(config: unknown, { parts }: RecurrentKind, where: string): PackedCell {
  const { ahead, back } = (config ?? {}) as Record<keyof PackedCell, Config | undefined>;
  if (!ahead && !back) throw new TypeError(`${where}: packed, expected what the weights hold, got ${String(config)}.`);
  const specs = (given: Config | undefined): CellSpecs | undefined => {
    if (!given) return undefined;
    const [kernel, own] = [given.kernel, given.recurrent].map((one) => specOf(one, where) as MatrixSpec);
    if (kernel?.kind !== 'matrix' || own?.kind !== 'matrix')
      throw new RangeError(`${where}: packed, expected two matrices, got ${kernel?.kind} and ${own?.kind}.`);
    return { kernel, recurrent: { ...own, batchShape: parts > 1 ? [parts] : [] } };
  };
  return { ahead: specs(ahead), back: specs(back) };
}

/** @param backwards does the layer begin with the last position? */
export function specsFor({ ahead, back }: PackedCell, backwards: boolean): CellSpecs {
  return ((backwards ? back : ahead) ?? ahead ?? back)!;
}

const known = /* @__PURE__ */ new WeakMap<object, ReadonlyMap<RecurrentKind, StockClasses>>();

/** Registers the classes with tfjs, once per copy of tfjs-layers. @returns the stock classes */
export function registerRecurrent({ layers }: LayersNamespace): ReadonlyMap<RecurrentKind, StockClasses> {
  const before = known.get(layers.Layer);
  if (before) return before;
  const { tf } = requireRegistration('layers');
  const stock = new Map(
    RECURRENT_KINDS.map((kind): [RecurrentKind, StockClasses] => [
      kind,
      {
        layer: kind.sample(layers).constructor as RecurrentClass,
        cell: kind.sampleCell(layers).constructor as CellClass,
      },
    ]),
  );
  for (const [kind, { layer, cell }] of stock) {
    const Cell = packedCell(kind, cell);
    tf.serialization.registerClass(Cell as never);
    tf.serialization.registerClass(packedLayer(kind, layer, Cell) as never);
  }
  known.set(layers.Layer, stock);
  return stock;
}

function packedCell(kind: RecurrentKind, Stock: CellClass): CellClass {
  return class extends Stock {
    static className = kind.msdCell;
    readonly #packed: PackedCell;
    readonly #saved: CellSpecs;
    readonly #specs: CellSpecs;

    constructor({ packed, ...config }: Config) {
      super(config);
      this.#packed = packedOf(packed, kind, `${kind.msdCell} ${this.name}`);
      this.#saved = specsFor(this.#packed, config.goBackwards === true);
      this.#specs = upgradedSpecs(this.#saved);
    }

    /** `build` of the stock class asks for float weights: it gets integers, without regularizer and constraint. */
    override addWeight(name: string, shape: number[], ...rest: [dtype?: string, ...unknown[]]): LayerVariable {
      if (!(LEAVES as readonly string[]).includes(name)) return super.addWeight(name, shape, ...rest);
      const leaf = name === 'kernel' ? 'kernel' : 'recurrent';
      const zeros = { apply: (length: number[]) => requireRegistration(kind.msd).tf.zeros(length, 'int32') };
      const variable = super.addWeight(name, [int32Length(this.#specs[leaf])], 'int32', zeros, undefined, false);
      return upgradeFirstWrite(variable, this.#saved[leaf]);
    }

    override call(inputs: Tensor | Tensor[], kwargs: object): Tensor[] {
      return runCell(kind, this, this.#specs, inputs, kwargs);
    }

    override getConfig(): Config {
      const { ahead, back } = this.#packed;
      const packed = { ahead: ahead && upgradedSpecs(ahead), back: back && upgradedSpecs(back) };
      return { ...super.getConfig(), packed: configOfPacked(packed) };
    }

    get specs(): CellSpecs {
      return this.#specs;
    }
  };
}

const upgradedSpecs = ({ kernel, recurrent }: CellSpecs): CellSpecs => ({
  kernel: upgradedSpec(kernel) as MatrixSpec,
  recurrent: upgradedSpec(recurrent) as MatrixSpec,
});

/** What both a loaded and an accelerated cell do. */
export function runCell(
  kind: RecurrentKind,
  cell: CellInternals,
  specs: CellSpecs,
  inputs: Tensor | Tensor[],
  kwargs: object,
): Tensor[] {
  const { tf } = requireRegistration(kind.msdCell);
  return tf.tidy(() => stepCell(kind, cell, specs, inputs as Tensor[], kwargs));
}

function packedLayer(kind: RecurrentKind, Stock: RecurrentClass, Cell: CellClass): RecurrentClass {
  return class extends Stock {
    static className = kind.msd;

    constructor({ packed, ...config }: Config) {
      super(config);
      this.cell = new Cell({ ...config, packed });
    }

    override call(inputs: Tensor | Tensor[], kwargs: object): Tensor | Tensor[] {
      const { specs } = this.cell as CellInternals & { readonly specs: CellSpecs };
      return runLayer(kind, this, specs, inputs, kwargs, () => super.call(inputs, kwargs));
    }
  };
}

interface Kwargs {
  readonly mask?: Tensor | Tensor[] | null;
  readonly training?: boolean | null;
  readonly initialState?: Tensor[] | null;
}

/**
 * What both a loaded and an accelerated layer do: all positions in one step, if there is a kernel for it.
 *
 * @param step goes from position to position, as tfjs-layers does it
 */
export function runLayer(
  kind: RecurrentKind,
  layer: RecurrentInternals,
  specs: CellSpecs,
  inputs: Tensor | Tensor[],
  kwargs: Kwargs | undefined,
  step: () => Tensor | Tensor[],
): Tensor | Tensor[] {
  const { tf } = requireRegistration(kind.msd);
  const { cell, returnSequences, returnState } = layer;
  const x = (Array.isArray(inputs) ? inputs[0] : inputs)!;
  const { mask, training, initialState } = kwargs ?? {};
  const drops = training === true && (cell.dropout > 0 || cell.recurrentDropout > 0);
  if (drops || x.rank !== 3 || (Array.isArray(inputs) && inputs.length > 1)) return step();
  return tf.tidy(() => {
    const states = initialState ?? (layer.stateful ? layer.states_ : null) ?? layer.getInitialState(x);
    const nameOf = (activation: CellInternals['activation']) => activation?.getClassName() ?? 'linear';
    const result =
      states.length === (kind.id === 'lstm' ? 2 : 1)
        ? runRecurrent(
            {
              id: kind.id,
              activations: {
                activation: nameOf(cell.activation),
                recurrentActivation: nameOf(cell.recurrentActivation),
              },
              kernel: kernelOf(cell, specs),
              recurrentKernel: recurrentKernelOf(cell, specs),
              bias: cell.bias?.read(),
            },
            {
              x,
              states,
              isReversed: layer.goBackwards,
              sequences: returnSequences,
              mask: (Array.isArray(mask) ? mask[0] : mask) ?? undefined,
            },
          )
        : undefined;
    if (!result) return step() as Tensor;
    if (layer.stateful) layer.resetStates(result.states, training ?? false);
    const output = returnSequences ? result.sequence! : result.states[0]!;
    return (returnState ? [output, ...result.states] : output) as Tensor;
  });
}
