/**
 * MSD's layer classes: each is the stock class with one weight as packed integers. tfjs-layers deserializes, runs, saves and
 * loads them like any other.
 */
import { shown } from '../errors.ts';
import type { LayersNamespace } from '../peers.ts';
import { QuantizedTensor } from '../quantized-tensor.ts';
import { upgradedSpec, upgradeFirstWrite } from '../saved.ts';
import { checkSpec, int32Length, type QuantizedSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import { KINDS, type LayerInternals, type LayerKind, type LayerVariable } from './kinds.ts';

/** tfjs-layers rewrites the case of keys and of strings when it saves and loads: only lower-case words survive. */
export function packedConfig(spec: QuantizedSpec): Record<string, unknown> {
  if (spec.kind === 'table') return { ...spec };
  const { kind, K, N, format, blockSize, storedZeroPoints, scale, planes, offset, version } = spec;
  const shape = { inputs: K, outputs: N, format, block: blockSize, zeros: storedZeroPoints, scale, planes, offset };
  return { kind, ...shape, version };
}

/**
 * The way back, checked.
 *
 * @param length elements of the tensor, where they are known
 */
export function specOf(config: unknown, where: string, length?: number): QuantizedSpec {
  if (typeof config !== 'object' || config === null)
    throw new TypeError(`${where}: packed, expected what the weights hold, got ${shown(config)}.`);
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

const known = /* @__PURE__ */ new WeakMap<object, ReadonlyMap<LayerKind, LayerClass>>();

/**
 * Registers the classes with tfjs, once per copy of tfjs-layers.
 *
 * @returns the stock classes
 */
export function registerClasses({ layers }: LayersNamespace): ReadonlyMap<LayerKind, LayerClass> {
  const before = known.get(layers.Layer);
  if (before) return before;
  const { tf } = requireRegistration('layers');
  const stock = new Map(KINDS.map((kind) => [kind, kind.sample(layers).constructor as LayerClass]));
  for (const [kind, Stock] of stock) tf.serialization.registerClass(packedClass(kind, Stock) as never);
  known.set(layers.Layer, stock);
  return stock;
}

function packedClass(kind: LayerKind, Stock: LayerClass): LayerClass {
  return class extends Stock {
    static className = kind.msd;
    readonly #saved: QuantizedSpec;
    readonly #spec: QuantizedSpec;

    constructor({ packed, ...config }: Record<string, unknown>) {
      super(config);
      this.#saved = specOf(packed, `${kind.msd} ${shown(this.name)}`);
      this.#spec = upgradedSpec(this.#saved);
    }

    /** `build` of the stock class asks for a float weight: it gets integers, without regularizer and constraint. */
    override addWeight(name: string, shape: number[], ...rest: [dtype?: string, ...unknown[]]): LayerVariable {
      if (name !== kind.weight) return super.addWeight(name, shape, ...rest);
      const zeros = { apply: (length: number[]) => requireRegistration(kind.msd).tf.zeros(length, 'int32') };
      const variable = super.addWeight(name, [int32Length(this.#spec)], 'int32', zeros, undefined, false);
      return upgradeFirstWrite(variable, this.#saved);
    }

    override call(inputs: Tensor | Tensor[], kwargs: object): Tensor {
      return runPacked(kind, this, this.#spec, inputs, kwargs);
    }

    override getConfig(): Record<string, unknown> {
      return { ...super.getConfig(), packed: packedConfig(this.#spec) };
    }
  };
}

/** What both a loaded and an accelerated layer do. */
export function runPacked(
  kind: LayerKind,
  layer: LayerInternals,
  spec: QuantizedSpec,
  inputs: Tensor | Tensor[],
  kwargs: object,
): Tensor {
  const { tf } = requireRegistration(kind.msd);
  return tf.tidy(() => kind.run(layer, new QuantizedTensor(layer[kind.weight]!.read(), spec), inputs, kwargs));
}
