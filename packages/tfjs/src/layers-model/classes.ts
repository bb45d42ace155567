/**
 * MSD's layer classes: each is the stock class with one weight as packed integers. tfjs-layers deserializes, runs, saves and
 * loads them like any other.
 */
import { prepareConvolutions } from '../convolution/kernels.ts';
import { checkInput } from '../copies.ts';
import { shown } from '../errors.ts';
import type { LayersNamespace } from '../peers.ts';
import { upgradedSpec } from '../saved.ts';
import { checkSpec, int32Length, type QuantizedSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import { KINDS, type LayerInternals, type LayerKind, type LayerVariable } from './kinds.ts';
import { perCopy } from './per-copy.ts';
import { guardTraining } from './training.ts';
import { initializeLater, packedOf, packVariable, requirePacked } from './variable.ts';

/** tfjs-layers rewrites the case of keys and of strings when it saves and loads: only lower-case words survive. */
export function packedConfig(spec: QuantizedSpec): Record<string, unknown> {
  if (spec.kind === 'table') return { ...spec };
  const { kind, K, N, format, blockSize, storedZeroPoints, scale, planes, offset, version, powers } = spec;
  const shape = { inputs: K, outputs: N, format, block: blockSize, zeros: storedZeroPoints, scale, planes, offset };
  return { kind, ...shape, version, ...(powers && { powers }) };
}

/**
 * The way back, checked.
 *
 * @param length elements of the tensor, where they are known
 */
export function specOf(config: unknown, where: string, length?: number): QuantizedSpec {
  if (typeof config !== 'object' || config === null)
    throw new TypeError(`${where}: packed, expected the spec of the weights, got ${shown(config)}.`);
  const {
    inputs: K,
    outputs: N,
    block: blockSize,
    zeros: storedZeroPoints,
    ...rest
  } = config as Record<string, unknown>;
  const given = rest.kind === 'matrix' ? { ...rest, batchShape: [], K, N, blockSize, storedZeroPoints } : rest;
  return checkSpec(given, length ?? int32Length(given as unknown as QuantizedSpec), where);
}

type LayerClass = new (config: Record<string, unknown>) => LayerInternals;

interface Classes {
  readonly stock: ReadonlyMap<LayerKind, LayerClass>;
  readonly packed: readonly LayerClass[];
}

/**
 * Registers the classes with tfjs: again each time, since a name is that of the copy of tfjs-layers which registered last.
 *
 * @returns the stock classes
 */
export function registerClasses(namespace: LayersNamespace): ReadonlyMap<LayerKind, LayerClass> {
  const { tf } = requireRegistration('layers');
  const { stock, packed } = classesOf(namespace);
  for (const one of packed) tf.serialization.registerClass(one as never);
  return stock;
}

const classesOf = /* @__PURE__ */ perCopy((namespace): Classes => {
  const stock = new Map(KINDS.map((kind) => [kind, kind.sample(namespace.layers).constructor as LayerClass]));
  const packed = [...stock].map(([kind, Stock]) => packedClass(kind, Stock));
  guardTraining(namespace);
  return { stock, packed };
});

function packedClass(kind: LayerKind, Stock: LayerClass): LayerClass {
  return class extends Stock {
    static className = kind.msd;
    readonly #saved: QuantizedSpec;

    constructor({ packed, ...config }: Record<string, unknown>) {
      super(config);
      if (kind.isConvolution) void prepareConvolutions();
      this.#saved = specOf(packed, `${kind.msd} ${shown(this.name)}`);
    }

    /**
     * `build` of the stock class asks for a float weight: it gets integers. Without a file that follows they are those of the
     * initializer, as in the stock class.
     */
    override addWeight(name: string, shape: number[], dtype?: string, ...rest: unknown[]): LayerVariable {
      if (name !== kind.leaf) return super.addWeight(name, shape, dtype, ...rest);
      const add = super.addWeight.bind(this);
      return addPacked(this, kind.msd, this.#saved, { add, name, shape, dtype, rest });
    }

    override call(inputs: Tensor | Tensor[], kwargs: object): Tensor {
      checkInput(inputs, kind.msd);
      return runPacked(kind, this, inputs, kwargs);
    }

    override getConfig(): Record<string, unknown> {
      const weight = this[kind.weight];
      const spec = (weight && packedOf(weight)?.spec) ?? upgradedSpec(this.#saved);
      return { ...super.getConfig(), packed: packedConfig(spec) };
    }
  };
}

interface Wanted {
  /** The stock method. */
  readonly add: LayerInternals['addWeight'];
  readonly name: string;
  readonly shape: number[];
  /** Recurrent layers of stock give null. */
  readonly dtype: string | null | undefined;
  readonly rest: readonly unknown[];
}

/** A weight of integers in place of the float one that `build` wants. */
export function addPacked(
  layer: LayerInternals,
  where: string,
  saved: QuantizedSpec,
  { add, name, shape, dtype, rest }: Wanted,
): LayerVariable {
  const { tf } = requireRegistration(where);
  const [initializer, ...more] = rest as [{ apply(shape: number[], dtype?: string): Tensor }];
  const nothing = { apply: (length: number[]) => tf.zeros(length) };
  const variable = add(name, [1], 'float32', nothing, ...more);
  const spec = upgradedSpec(saved);
  packVariable(variable, { spec, data: new Int32Array(int32Length(spec)) }, { shape, saved });
  // Cells are not told that a file follows. Initial values are made when somebody asks for them: on a GPU they could only be read by blocking.
  if (!layer.fastWeightInitDuringBuild) initializeLater(variable, () => initializer.apply(shape, dtype ?? 'float32'));
  return variable;
}

/** What both a loaded and an accelerated layer do. */
export function runPacked(kind: LayerKind, layer: LayerInternals, inputs: Tensor | Tensor[], kwargs: object): Tensor {
  const { tf } = requireRegistration(kind.msd);
  return tf.tidy(() => kind.run(layer, requirePacked(layer[kind.weight]!), inputs, kwargs));
}
