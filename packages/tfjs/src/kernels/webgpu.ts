/**
 * MsdMatMul on tfjs's WebGPU device: recorded into tfjs's own compute pass, on its own buffers, the packed tensor bound
 * as it lies. Nothing is copied and nothing submitted for it.
 *
 * A backend on a foreign device has to probe it first, which takes a moment: until `ready()` has resolved, the weights are
 * dequantized instead.
 */
import type { ActivationId } from '@msd/core';
import type { GpuBuffer, GpuComputePass, GpuDevice, GpuWeights, WebGpuBackend } from '@msd/core/webgpu';
import { type MatrixSpec, matrixCount, planeBytes } from '../spec.ts';
import type { DataId, TensorInfo } from '../tf.ts';
import type { MatMulAttrs, MatMulInputs } from './mat-mul.ts';

/** What the webgpu backend of tfjs has besides its public type; all of it is there in 4.22. */
interface WebGpuTfBackend {
  readonly device: GpuDevice;
  readonly tensorMap: { get(dataId: DataId): { readonly resource?: GpuBuffer } };
  readonly commandEncoder: { beginComputePass(): GpuComputePass } | null;
  computePassEncoder: GpuComputePass | null;
  dispatchCountInPass: number;
  readonly commandQueueOwnedIds: { add(dataId: DataId): unknown };
  uploadToGPU(dataId: DataId): void;
  makeTensorInfo(shape: number[], dtype: string): TensorInfo;
  disposeData(dataId: DataId): boolean;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

const METHODS = [
  'uploadToGPU',
  'makeTensorInfo',
  'disposeData',
  'ensureCommandEncoderReady',
  'endComputePassEncoder',
  'submitQueue',
] as const;
const FIELDS = ['device', 'tensorMap', 'computePassEncoder', 'dispatchCountInPass', 'commandQueueOwnedIds'] as const;

/** Does this tfjs backend let MSD record into its pass? */
function isKnown(backend: object): backend is WebGpuTfBackend {
  const given = backend as Record<string, unknown>;
  return METHODS.every((name) => typeof given[name] === 'function') && FIELDS.every((name) => name in given);
}

interface GpuHost {
  readonly msd: WebGpuBackend;
  readonly adopted: WeakMap<DataId, { readonly buffer: GpuBuffer; readonly weights: GpuWeights }>;
}

const hosts = /* @__PURE__ */ new WeakMap<object, GpuHost>();
const pending = /* @__PURE__ */ new WeakMap<object, Promise<boolean>>();
/** Adopted matrices of tensors that are gone are forgotten: their buffers are tfjs's. */
const forget = /* @__PURE__ */ new FinalizationRegistry<GpuWeights>((weights) => weights.dispose());

/** Makes MSD ready on tfjs's device. @returns false if this backend is none that MSD knows */
export function prepareGpu(backend: object): Promise<boolean> {
  let preparing = pending.get(backend);
  if (!preparing) {
    preparing = isKnown(backend) ? create(backend) : Promise.resolve(false);
    pending.set(backend, preparing);
  }
  return preparing;
}

async function create(backend: WebGpuTfBackend): Promise<boolean> {
  const { WebGpuBackend: Backend } = await import('@msd/core/webgpu');
  const msd = await Backend.create({ device: backend.device });
  hosts.set(backend, { msd, adopted: new WeakMap() });
  return true;
}

/** Can `msdMatMulGpu` run now? Weights of one plane, in one matrix, without an offset. */
export const gpuTakes = (backend: object, spec: MatrixSpec): boolean =>
  hosts.has(backend) && spec.planes === 1 && spec.offset === 0 && matrixCount(spec) === 1;

export const gpuIsReady = (backend: object): boolean => hosts.has(backend);

export function disposeGpu(backend: object): void {
  const host = hosts.get(backend);
  if (host) {
    // What tfjs has recorded and not submitted yet may use MSD's scratch.
    const { commandEncoder } = backend as WebGpuTfBackend;
    if (commandEncoder) {
      (backend as WebGpuTfBackend).endComputePassEncoder();
      (backend as WebGpuTfBackend).submitQueue();
    }
    host.msd.dispose();
  }
  hosts.delete(backend);
  pending.delete(backend);
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

export function msdMatMulGpu(inputs: MatMulInputs, attrs: MatMulAttrs, tfBackend: object): TensorInfo {
  const backend = tfBackend as WebGpuTfBackend;
  const { msd, adopted } = hosts.get(backend)!;
  const { x, w, bias } = inputs;
  const { spec, components, activationBlock, activation } = attrs;
  const { K, N } = spec;
  const M = sizeOf(x.shape) / K;
  const lead = x.shape.slice(0, -1);
  // Leading dimensions of size one that the weights bring along.
  const added = Math.max(0, spec.batchShape.length - Math.max(0, x.shape.length - 2));
  const y = backend.makeTensorInfo([...Array<number>(added).fill(1), ...lead, N], 'float32');
  if (M === 0) return y;
  try {
    const tensors = bias ? [x, w, bias, y] : [x, w, y];
    for (const { dataId } of tensors) backend.uploadToGPU(dataId); // before the pass: uploads end it
    const binding = ({ dataId }: TensorInfo, byteLength: number) => ({
      buffer: backend.tensorMap.get(dataId).resource!,
      byteLength,
    });
    const { buffer } = binding(w, 0);
    let known = adopted.get(w.dataId);
    if (known?.buffer !== buffer) {
      known = { buffer, weights: msd.adopt(spec, binding(w, planeBytes(spec))) };
      adopted.set(w.dataId, known);
      forget.register(w.dataId, known.weights);
    }
    backend.ensureCommandEncoderReady();
    const pass = (backend.computePassEncoder ??= backend.commandEncoder!.beginComputePass());
    msd.record(pass, binding(x, 4 * M * K), known.weights, {
      M,
      components,
      activationBlock,
      activation: activation as ActivationId | undefined,
      bias: bias && binding(bias, 4 * N),
      out: binding(y, 4 * M * N),
    });
    for (const { dataId } of tensors) backend.commandQueueOwnedIds.add(dataId);
    backend.dispatchCountInPass += 2;
  } catch (error) {
    backend.disposeData(y.dataId);
    throw error;
  }
  return y;
}

/** tfjs submits after so many dispatches; MSD's count as well. */
export function submitWhenFull(tfBackend: object, batchSize: number): void {
  const backend = tfBackend as WebGpuTfBackend;
  if (backend.dispatchCountInPass < batchSize) return;
  backend.endComputePassEncoder();
  backend.submitQueue();
}
