/**
 * `override: true`: tfjs's own BatchMatMul and _FusedMatMul run on the quantized form of an operand that has one, and are
 * stock for all others. The floats stay alive: this buys speed where the calls cannot be changed, not memory.
 */

import { hostOf } from './kernels/hosts.ts';
import { type MatMulAttrs, msdMatMul } from './kernels/mat-mul.ts';
import { getWrapped, type KernelConfig } from './kernels/wrapped.ts';
import type { QuantizedTensor } from './quantized-tensor.ts';
import type { MatrixSpec } from './spec.ts';
import { registration } from './state.ts';
import type { DataId, Tensor, TensorInfo } from './tf.ts';

interface Remembered {
  readonly quantized: QuantizedTensor;
  /** The float tensor is [N,K]. */
  readonly transposed: boolean;
}

const remembered = /* @__PURE__ */ new WeakMap<DataId, Remembered>();

export function rememberQuantized(tensor: Tensor, quantized: QuantizedTensor, transposed: boolean): void {
  remembered.set(tensor.dataId, { quantized, transposed });
}

interface FusedInputs {
  readonly a: TensorInfo;
  readonly b: TensorInfo;
  readonly bias?: TensorInfo;
  readonly preluActivationWeights?: TensorInfo;
}

interface FusedAttrs {
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly activation?: string | null;
  readonly leakyreluAlpha?: number;
}

/** tfjs kernels for the activations that it fuses. */
const ACTIVATION_KERNELS: Readonly<Record<string, string>> = {
  relu: 'Relu',
  relu6: 'Relu6',
  elu: 'Elu',
  sigmoid: 'Sigmoid',
  prelu: 'Prelu',
  leakyrelu: 'LeakyRelu',
};

export const OVERRIDDEN: readonly string[] = ['BatchMatMul', '_FusedMatMul'];

/** The kernel that is there, with a detour for quantized operands. */
export function overridden(kernelName: string, backendName: string): KernelConfig['kernelFunc'] | undefined {
  const stock = getWrapped(kernelName, backendName);
  return stock && overriding(stock);
}

function overriding(stock: KernelConfig): KernelConfig['kernelFunc'] {
  return (params) => {
    const { a, b, bias, preluActivationWeights } = params.inputs as unknown as FusedInputs;
    const attrs = params.attrs as unknown as FusedAttrs;
    const { activation = 'linear' } = attrs;
    const known = remembered.get(b.dataId);
    const options = registration()?.options;
    const kernelName = activation && activation !== 'linear' ? ACTIVATION_KERNELS[activation] : undefined;
    const followUp = kernelName === undefined ? undefined : getWrapped(kernelName, stock.backendName);
    const takes =
      known !== undefined &&
      options?.override === true &&
      !known.quantized.isDisposed &&
      !attrs.transposeA &&
      known.transposed === (attrs.transposeB ?? false) &&
      a.dtype === 'float32' &&
      (bias === undefined || bias.shape.at(-1) === (known.quantized.spec as MatrixSpec).N) &&
      (bias === undefined || bias.shape.every((dim, i) => dim === 1 || i === bias.shape.length - 1)) &&
      (activation === null || activation === 'linear' || followUp !== undefined);
    const host = takes ? hostOf(params.backend as object, stock.backendName) : undefined;
    if (!takes || !host) return stock.kernelFunc(params);
    const w = onBackend(known.quantized, params.backend);
    const spec = known.quantized.spec as MatrixSpec;
    const rank = Math.max(a.shape.length, b.shape.length);
    const x = { ...a, shape: [...Array<number>(rank - a.shape.length).fill(1), ...a.shape] };
    const matMulAttrs: MatMulAttrs = { spec, components: options.components, activationBlock: options.activationBlock };
    const y = msdMatMul({ x, w, ...(bias && { bias }) }, matMulAttrs, host);
    if (!followUp) return y;
    try {
      return followUp.kernelFunc({
        inputs: activation === 'prelu' ? { x: y, alpha: preluActivationWeights! } : { x: y },
        attrs: activation === 'leakyrelu' ? { alpha: attrs.leakyreluAlpha ?? 0.2 } : {},
        backend: params.backend,
      });
    } finally {
      (params.backend as { disposeData(id: DataId): void }).disposeData(y.dataId);
    }
  };
}

/** The packed tensor's data, moved to the backend that is about to read it, as tfjs does for its own operands. */
function onBackend({ packed }: QuantizedTensor, backend: unknown): TensorInfo {
  registration()?.tf.engine().backend; // resolved: kernels run only then
  type Storage = { get(id: DataId): unknown };
  const { data, dataIdMap, tensorMap } = backend as Partial<Record<'data' | 'dataIdMap' | 'tensorMap', Storage>>;
  (data ?? dataIdMap ?? tensorMap)?.get(packed.dataId); // DataStorage.get moves what another backend holds
  return packed;
}
