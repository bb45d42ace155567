/**
 * MSD's recurrent classes: the stock ones with both kernels as packed integers. tfjs-layers deserializes, runs, saves and loads them
 * like any other; Bidirectional, RNN, StackedRNNCells and TimeDistributed stay stock.
 */

import { shown } from '../../errors.ts';
import type { LayersNamespace } from '../../peers.ts';
import { prepareRecurrent, runRecurrent } from '../../recurrent/layer.ts';
import { upgradedSpec } from '../../saved.ts';
import type { MatrixSpec } from '../../spec.ts';
import { requireRegistration } from '../../state.ts';
import type { Tensor } from '../../tf.ts';
import { addPacked, packedConfig, specOf } from '../classes.ts';
import type { LayerVariable } from '../kinds.ts';
import { perCopy } from '../per-copy.ts';
import { packedOf as quantizedOf, requirePacked } from '../variable.ts';
import { type CellSpecs, stepCell } from './cell.ts';
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
  if (!ahead && !back) throw new TypeError(`${where}: packed, expected the spec of the weights, got ${shown(config)}.`);
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
export const wayOf = ({ ahead, back }: PackedCell, backwards: boolean): 'ahead' | 'back' =>
  (backwards && back) || !ahead ? 'back' : 'ahead';

interface Classes {
  readonly stock: ReadonlyMap<RecurrentKind, StockClasses>;
  readonly packed: readonly (CellClass | RecurrentClass)[];
}

/** Registers the classes with tfjs, again each time. @returns the stock classes */
export function registerRecurrent(namespace: LayersNamespace): ReadonlyMap<RecurrentKind, StockClasses> {
  const { tf } = requireRegistration('layers');
  const { stock, packed } = classesOf(namespace);
  for (const one of packed) tf.serialization.registerClass(one as never);
  return stock;
}

const classesOf = /* @__PURE__ */ perCopy(({ layers }): Classes => {
  const stock = new Map(
    RECURRENT_KINDS.map((kind): [RecurrentKind, StockClasses] => [
      kind,
      {
        layer: kind.sample(layers).constructor as RecurrentClass,
        cell: kind.sampleCell(layers).constructor as CellClass,
      },
    ]),
  );
  const packed = [...stock].flatMap(([kind, { layer, cell }]) => {
    const Cell = packedCell(kind, cell);
    return [Cell, packedLayer(kind, layer, Cell)];
  });
  return { stock, packed };
});

function packedCell(kind: RecurrentKind, Stock: CellClass): CellClass {
  return class extends Stock {
    static className = kind.msdCell;
    readonly #packed: PackedCell;
    readonly #way: 'ahead' | 'back';

    constructor({ packed, ...config }: Config) {
      super(config);
      this.#packed = packedOf(packed, kind, `${kind.msdCell} ${shown(this.name)}`);
      this.#way = wayOf(this.#packed, config.goBackwards === true);
    }

    /**
     * `build` of the stock class asks for float weights: it gets integers. Without a file that follows they are those of the
     * initializer, as in the stock class.
     */
    override addWeight(name: string, shape: number[], dtype?: string, ...rest: unknown[]): LayerVariable {
      if (!(LEAVES as readonly string[]).includes(name)) return super.addWeight(name, shape, dtype, ...rest);
      const saved = this.#packed[this.#way]![name === 'kernel' ? 'kernel' : 'recurrent'];
      const add = super.addWeight.bind(this);
      return addPacked(this, kind.msdCell, saved, { add, name, shape, dtype, rest });
    }

    override call(inputs: Tensor | Tensor[], kwargs: object): Tensor[] {
      return runCell(kind, this, inputs, kwargs);
    }

    override getConfig(): Config {
      return { ...super.getConfig(), packed: configOfPacked({ ...this.#packed, [this.#way]: this.#specs() }) };
    }

    /** As they are now. */
    #specs(): CellSpecs {
      const [kernel, recurrent] = [this.kernel, this.recurrentKernel].map(
        (weight) => weight && quantizedOf(weight)?.spec,
      );
      if (kernel && recurrent) return { kernel, recurrent } as CellSpecs;
      const saved = this.#packed[this.#way]!;
      return { kernel: upgradedSpec(saved.kernel), recurrent: upgradedSpec(saved.recurrent) } as CellSpecs;
    }
  };
}

/** What both a loaded and an accelerated cell do. */
export function runCell(kind: RecurrentKind, cell: CellInternals, inputs: Tensor | Tensor[], kwargs: object): Tensor[] {
  const { tf } = requireRegistration(kind.msdCell);
  return tf.tidy(() => stepCell(kind, cell, inputs as Tensor[], kwargs));
}

function packedLayer(kind: RecurrentKind, Stock: RecurrentClass, Cell: CellClass): RecurrentClass {
  return class extends Stock {
    static className = kind.msd;

    constructor({ packed, ...config }: Config) {
      super(config);
      this.cell = new Cell({ ...config, packed });
      void prepareRecurrent();
    }

    override call(inputs: Tensor | Tensor[], kwargs: object): Tensor | Tensor[] {
      return runLayer(kind, this, inputs, kwargs, () => super.call(inputs, kwargs));
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
    const count = kind.id === 'lstm' ? 2 : 1;
    // Zeros, as getInitialState makes them of x in four operations.
    const zeros = () => Array.from({ length: count }, () => tf.zeros([x.shape[0]!, cell.units]));
    const states = initialState ?? (layer.stateful ? layer.states_ : null) ?? zeros();
    const nameOf = (activation: CellInternals['activation']) => activation?.getClassName() ?? 'linear';
    const result =
      states.length === count
        ? runRecurrent(
            {
              id: kind.id,
              activations: {
                activation: nameOf(cell.activation),
                recurrentActivation: nameOf(cell.recurrentActivation),
              },
              kernel: requirePacked(cell.kernel),
              recurrentKernel: requirePacked(cell.recurrentKernel),
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
