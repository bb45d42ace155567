/** Dense with packed weights: a layer class that tfjs-layers can deserialize, run, save and load. */

import { type Activation, matMul } from '../mat-mul.ts';
import type { LayersNamespace } from '../peers.ts';
import { QuantizedTensor } from '../quantized-tensor.ts';
import { checkSpec, int32Length, type MatrixSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';

/** What of a layer MSD looks at, beyond tfjs-layers' public types. */
export interface LayerInternals {
  name: string;
  getClassName(): string;
  getConfig(): Record<string, unknown>;
  call(inputs: Tensor | Tensor[], kwargs: object): Tensor | Tensor[];
  invokeCallHook(inputs: Tensor | Tensor[], kwargs: object): void;
  kernel: LayerVariable | null;
  bias: LayerVariable | null;
  useBias: boolean;
  units: number;
  activation: { getClassName(): string; apply(x: Tensor): Tensor } | null;
  _trainableWeights: LayerVariable[];
  _nonTrainableWeights: LayerVariable[];
}

export interface LayerVariable {
  readonly shape: number[];
  readonly originalName: string;
  read(): Tensor;
  dispose(): void;
}

/** Activations that `matMul` knows, by the names of tfjs-layers. */
const FUSED: readonly string[] = ['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'tanh'];

const onlyOne = (inputs: Tensor | Tensor[]): Tensor => (Array.isArray(inputs) ? inputs[0]! : inputs);

/** What both a loaded and an accelerated Dense do. */
export function runDense(
  layer: LayerInternals,
  packed: Tensor,
  spec: MatrixSpec,
  inputs: Tensor | Tensor[],
  kwargs: object,
): Tensor {
  const { tf } = requireRegistration('MsdDense');
  return tf.tidy(() => {
    layer.invokeCallHook(inputs, kwargs);
    const name = layer.activation?.getClassName() ?? 'linear';
    const y = matMul(onlyOne(inputs), new QuantizedTensor(packed, spec), {
      bias: layer.bias?.read(),
      activation: FUSED.includes(name) ? (name as Activation) : 'linear',
    });
    return FUSED.includes(name) ? y : layer.activation!.apply(y);
  });
}

/** The config of a Dense, turned into that of an MsdDense; initializers and constraints only matter for training. */
export function msdDenseConfig(config: Readonly<Record<string, unknown>>, spec: MatrixSpec): Record<string, unknown> {
  const { name, trainable, units, activation, use_bias, useBias, batch_input_shape, batchInputShape, dtype } = config;
  const all = { name, trainable, units, activation, use_bias, useBias, batch_input_shape, batchInputShape, dtype };
  const defined = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  // tfjs-layers rewrites the case of keys and of strings when it saves and loads: only lower-case values survive.
  const { K, format, blockSize, storedZeroPoints, scale, planes, offset } = spec;
  return { ...defined, inputUnits: K, format, blockSize, storedZeroPoints, scaleKind: scale, planes, offset };
}

/** The way back, checked. */
function specOf(config: Readonly<Record<string, unknown>>, where: string): MatrixSpec {
  const { units: N, inputUnits: K, format, blockSize, storedZeroPoints, scaleKind: scale, planes, offset } = config;
  const given = { kind: 'matrix', batchShape: [], N, K, format, blockSize, storedZeroPoints, scale, planes, offset };
  return checkSpec(given, int32Length(given as unknown as MatrixSpec), where) as MatrixSpec;
}

const classes = /* @__PURE__ */ new WeakMap<object, object>();

/** Registers the class with tfjs, once per copy of tfjs-layers. */
export function registerDense(layersNs: LayersNamespace): void {
  const { Layer } = layersNs.layers;
  if (classes.has(Layer)) return;
  const { tf } = requireRegistration('MsdDense');

  class MsdDense extends Layer {
    static className = 'MsdDense';
    readonly #spec: MatrixSpec;
    readonly #config: Record<string, unknown>;

    constructor(config: Record<string, unknown>) {
      super(config as never);
      this.#spec = specOf(config, `MsdDense ${this.name}`);
      this.#config = config;
      const self = this as unknown as LayerInternals;
      self.units = this.#spec.N;
      self.useBias = config.useBias !== false;
      self.kernel = null;
      self.bias = null;
      // The activation's functions are not exported: a Dense of tfjs-layers knows them by name.
      const plain = layersNs.layers.dense({ units: 1, activation: (config.activation ?? 'linear') as never });
      self.activation = (plain as unknown as LayerInternals).activation;
    }

    override build(): void {
      const self = this as unknown as LayerInternals;
      const zeros = layersNs.initializers.zeros();
      if (!self.kernel) {
        const add = (...args: unknown[]) =>
          (this as never as Record<'addWeight', (...a: unknown[]) => LayerVariable>).addWeight(...args);
        self.kernel = add('kernel', [int32Length(this.#spec)], 'int32', zeros, undefined, false);
        if (self.useBias) self.bias = add('bias', [this.#spec.N], 'float32', zeros);
      }
      this.built = true;
    }

    override computeOutputShape(inputShape: (number | null)[]): (number | null)[] {
      return [...inputShape.slice(0, -1), this.#spec.N];
    }

    override call(inputs: Tensor | Tensor[], kwargs: object): Tensor {
      const self = this as unknown as LayerInternals;
      return runDense(self, self.kernel!.read(), this.#spec, inputs, kwargs);
    }

    override getConfig(): never {
      return { ...super.getConfig(), ...msdDenseConfig(this.#config, this.#spec) } as never;
    }
  }

  tf.serialization.registerClass(MsdDense as never);
  classes.set(Layer, MsdDense);
}
