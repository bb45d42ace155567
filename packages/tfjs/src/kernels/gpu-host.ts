/**
 * tfjs's WebGPU backend as a place where MSD's kernels work: on its device, in its own compute pass, on the buffers of its
 * tensors. Nothing is copied and nothing submitted for them.
 *
 * A backend on a foreign device has to probe it first, which takes a moment: until `ready()` has resolved, the weights are
 * dequantized instead.
 */
import type { GpuBinding, GpuBuffer, GpuComputePass, GpuDevice, GpuWeights, WebGpuBackend } from '@msd/core/webgpu';
import { type MatrixSpec, planeBytes } from '../spec.ts';
import type { DataId, TensorInfo } from '../tf.ts';

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
function isKnown(backend: object): backend is WebGpuTfBackend {
  const given = backend as Record<string, unknown>;
  return METHODS.every((name) => typeof given[name] === 'function') && FIELDS.every((name) => name in given);
}

/** A compute pass that is open, and where tensors lie on its device. */
export interface GpuRecording {
  readonly msd: WebGpuBackend;
  readonly pass: GpuComputePass;
  /** `length` elements of a tensor from `at` on; by default all of it. */
  at(tensor: TensorInfo, at?: number, length?: number): GpuBinding;
  /** A plane of a packed matrix, adopted where it lies. */
  plane(w: TensorInfo, spec: MatrixSpec, plane: number): GpuWeights;
}

const hosts = /* @__PURE__ */ new WeakMap<object, WebGpuBackend>();
const pending = /* @__PURE__ */ new WeakMap<object, Promise<boolean>>();

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
  const mine = pending.get(backend);
  const msd = await Backend.create({ device: backend.device });
  if (pending.get(backend) === mine) hosts.set(backend, msd);
  else msd.dispose(); // taken back meanwhile
  return true;
}

/** Do the kernels run on this backend now? */
export const gpuIsReady = (backend: object): boolean => hosts.has(backend);

export function disposeGpu(tfBackend: object): void {
  const backend = tfBackend as WebGpuTfBackend;
  const msd = hosts.get(backend);
  if (msd) {
    // What tfjs has recorded and not submitted yet may use MSD's scratch.
    if (backend.commandEncoder) {
      backend.endComputePassEncoder();
      backend.submitQueue();
    }
    msd.dispose();
  }
  hosts.delete(backend);
  pending.delete(backend);
}

/** tfjs submits after so many dispatches; MSD's count as well. */
export function submitWhenFull(tfBackend: object, batchSize: number): void {
  const backend = tfBackend as WebGpuTfBackend;
  if (backend.dispatchCountInPass < batchSize) return;
  backend.endComputePassEncoder();
  backend.submitQueue();
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/**
 * A new float32 tensor from what `record` puts into tfjs's pass; it is given back if that fails.
 *
 * @param inputs all tensors that are read; what lies on the CPU is uploaded by tfjs
 * @param record returns how many dispatches it recorded
 */
export function recorded(
  tfBackend: object,
  shape: number[],
  inputs: readonly TensorInfo[],
  record: (recording: GpuRecording, y: TensorInfo) => number,
): TensorInfo {
  const backend = tfBackend as WebGpuTfBackend;
  if (shape.includes(0)) return backend.makeTensorInfo(shape, 'float32', new Float32Array(0));
  const msd = hosts.get(backend)!;
  const y = backend.makeTensorInfo(shape, 'float32');
  try {
    for (const { dataId } of [...inputs, y]) backend.uploadToGPU(dataId); // before the pass: uploads end it
    backend.ensureCommandEncoderReady();
    const pass = (backend.computePassEncoder ??= backend.commandEncoder!.beginComputePass());
    // tfjs keeps the buffers of tensors that are disposed of until the pass has been submitted.
    for (const { dataId } of [...inputs, y]) backend.commandQueueOwnedIds.add(dataId);
    const at = (tensor: TensorInfo, first = 0, length = sizeOf(tensor.shape)) => ({
      buffer: backend.tensorMap.get(tensor.dataId).resource!,
      offset: 4 * first,
      byteLength: 4 * length,
    });
    const plane = (w: TensorInfo, spec: MatrixSpec, index: number) => adopt(msd, w.dataId, at(w), spec, index);
    backend.dispatchCountInPass += record({ msd, pass, at, plane }, y);
  } catch (error) {
    backend.disposeData(y.dataId);
    throw error;
  }
  return y;
}

interface Adopted {
  readonly msd: WebGpuBackend;
  readonly buffer: GpuBuffer;
  readonly planes: (GpuWeights | undefined)[];
}

const adopted = /* @__PURE__ */ new WeakMap<DataId, Adopted>();
/** Adopted matrices of tensors that are gone are forgotten: their buffers are tfjs's. */
const forget = /* @__PURE__ */ new FinalizationRegistry<Adopted>((known) => release(known));

const release = ({ planes }: Adopted): void => {
  for (const weights of planes) weights?.dispose();
};

function adopt(
  msd: WebGpuBackend,
  dataId: DataId,
  { buffer }: GpuBinding,
  spec: MatrixSpec,
  plane: number,
): GpuWeights {
  let known = adopted.get(dataId);
  if (known?.buffer !== buffer || known.msd !== msd) {
    if (known) release(known); // the tensor has been elsewhere
    known = { msd, buffer, planes: [] };
    adopted.set(dataId, known);
    forget.register(dataId, known);
  }
  const byteLength = planeBytes(spec);
  return (known.planes[plane] ??= msd.adopt(spec, { buffer, offset: plane * byteLength, byteLength }));
}

/** Values of a tensor if they are on the CPU as well. */
export const valuesOnCpu = (tfBackend: object, { dataId }: TensorInfo): ArrayLike<number> | undefined =>
  (tfBackend as WebGpuTfBackend).tensorMap.get(dataId).values ?? undefined;

/** Values of a tensor wherever they are: tfjs's blocking read. */
export const valuesOf = (tfBackend: object, { dataId }: TensorInfo): ArrayLike<number> =>
  (tfBackend as WebGpuTfBackend).readSync(dataId);
