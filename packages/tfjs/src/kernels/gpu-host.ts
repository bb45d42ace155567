/**
 * tfjs's WebGPU backend: on its device, in its own compute pass, on the buffers of its tensors. Nothing is copied, and nothing
 * submitted for them.
 */
import type { GpuBinding, GpuBuffer, GpuComputePass, GpuDevice, GpuWeights, WebGpuBackend } from '@msd/core/webgpu';
import { sizeOf } from '../shapes.ts';
import { planeBytes } from '../spec.ts';
import { registration } from '../state.ts';
import type { DataId, TensorInfo } from '../tf.ts';
import { Adopted, type Host } from './host.ts';

/** What the webgpu backend of tfjs has besides its public type; all of it is there in 4.22. */
interface WebGpuTfBackend {
  readonly device: GpuDevice;
  readonly tensorMap: { get(dataId: DataId): { readonly resource?: GpuBuffer; readonly values?: ArrayLike<number> } };
  readonly commandEncoder: { beginComputePass(): GpuComputePass } | null;
  computePassEncoder: GpuComputePass | null;
  dispatchCountInPass: number;
  readonly commandQueueOwnedIds: { add(dataId: DataId): unknown };
  uploadToGPU(dataId: DataId): void;
  readSync(dataId: DataId): ArrayLike<number>;
  makeTensorInfo(shape: number[], dtype: string, values?: Float32Array): TensorInfo;
  disposeData(dataId: DataId): boolean;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

const METHODS = [
  'uploadToGPU',
  'readSync',
  'makeTensorInfo',
  'disposeData',
  'ensureCommandEncoderReady',
  'endComputePassEncoder',
  'submitQueue',
] as const;
const FIELDS = ['device', 'tensorMap', 'computePassEncoder', 'dispatchCountInPass', 'commandQueueOwnedIds'] as const;

/** Does this tfjs backend let MSD record into its pass? */
export function canRecord(backend: object): boolean {
  const given = backend as Record<string, unknown>;
  return METHODS.every((name) => typeof given[name] === 'function') && FIELDS.every((name) => name in given);
}

/** Probes tfjs's device, which takes a moment. @throws {@link BackendUnavailableError} if it cannot run MSD's kernels */
export async function gpuHost(tfBackend: object): Promise<Host<GpuBinding>> {
  const backend = tfBackend as WebGpuTfBackend;
  const { WebGpuBackend: Backend } = await import('@msd/core/webgpu');
  const msd = await Backend.create({ device: backend.device });
  return recordingHost(backend, msd);
}

function recordingHost(backend: WebGpuTfBackend, msd: WebGpuBackend): Host<GpuBinding> {
  const matrices = new Adopted<GpuWeights, GpuBinding>((a, b) => a.buffer === b.buffer);
  const at = (tensor: TensorInfo, first = 0, length = sizeOf(tensor.shape)) => ({
    buffer: backend.tensorMap.get(tensor.dataId).resource!,
    offset: 4 * first,
    byteLength: 4 * length,
  });
  const submit = () => {
    backend.endComputePassEncoder();
    backend.submitQueue();
  };
  /** tfjs's pass; its dispatches count, and MSD's as well. */
  const pass = (dispatches: number): GpuComputePass => {
    backend.dispatchCountInPass += dispatches;
    return backend.computePassEncoder!;
  };
  return {
    weights: 'webgpu pass',
    output(shape, inputs, fill) {
      if (shape.includes(0)) return backend.makeTensorInfo(shape, 'float32', new Float32Array(0));
      const y = backend.makeTensorInfo(shape, 'float32');
      try {
        const used = [...inputs, y];
        for (const { dataId } of used) backend.uploadToGPU(dataId); // before the pass: uploads end it
        backend.ensureCommandEncoderReady();
        backend.computePassEncoder ??= backend.commandEncoder!.beginComputePass();
        // tfjs keeps the buffers of tensors that are disposed of until the pass has been submitted.
        for (const { dataId } of used) backend.commandQueueOwnedIds.add(dataId);
        fill(y);
      } catch (error) {
        backend.disposeData(y.dataId);
        throw error;
      }
      const batchSize = registration()?.tf.env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE');
      if (backend.dispatchCountInPass >= (batchSize ?? 1)) submit();
      return y;
    },
    at,
    product(x, w, spec, plane, options) {
      const byteLength = planeBytes(spec);
      const place = { ...at(w), offset: plane * byteLength, byteLength };
      const matrix = matrices.get(w, spec, plane, place, () => msd.adopt(spec, place));
      msd.record(pass(2), x, matrix, options);
    },
    addOffset: (x, options) => msd.recordOffset(pass(1), x, options),
    rows: (source, w, options) => msd.recordRows(pass(1), source, w, options),
    integers: ({ dataId }, needed = false) =>
      backend.tensorMap.get(dataId).values ?? (needed ? backend.readSync(dataId) : undefined),
    dispose() {
      if (backend.commandEncoder) submit(); // what tfjs has recorded and not submitted yet may use MSD's scratch
      msd.dispose();
    },
  };
}
