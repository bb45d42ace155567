/**
 * A tfjs backend as a place where MSD's kernels work. On the wasm backend they run on its own heap, so that operands lie
 * where tfjs put them; otherwise operands are typed arrays, and packed weights pass through MSD's memory on each call.
 */
import { type ArenaHandle, BackendUnavailableError, createWasmBackend, type Heap, type WasmBackend } from '@msd/core';
import type { DataId, TensorInfo } from '../tf.ts';

type Operand = Float32Array | ArenaHandle;

export interface Host {
  readonly msd: WasmBackend;
  /** Where packed weights lie when kernels read them. */
  readonly weights: 'tfjs heap' | 'copied per call';
  /** Values of a float32 tensor. */
  operand(tensor: TensorInfo): Operand;
  /** Packed bytes of a tensor, where kernels can read them until the next call. */
  packed(tensor: TensorInfo, byteOffset: number, byteLength: number): ArenaHandle;
  /** Bytes of a tensor; a view that dies with the next allocation. */
  bytes(tensor: TensorInfo): Uint8Array<ArrayBufferLike>;
  /** A new tensor of float32, undefined contents. */
  output(shape: number[]): TensorInfo;
  /** Gives a tensor back that never reached the engine. */
  release(tensor: TensorInfo): void;
  dispose(): void;
}

/** What the cpu backend of tfjs has besides its public type. */
interface CpuBackend {
  readSync(dataId: DataId): Float32Array | Int32Array | Uint8Array;
  makeTensorInfo(shape: number[], dtype: string, values: Float32Array): TensorInfo;
  disposeIntermediateTensorInfo(tensor: TensorInfo): void;
}

/** What the wasm backend of tfjs has besides its public type. */
interface WasmTfBackend {
  readonly wasm: {
    readonly HEAPU8: Uint8Array;
    readonly wasmMemory?: WebAssembly.Memory;
    readonly asm?: { readonly memory?: WebAssembly.Memory };
    _malloc?(byteLength: number): number;
    _free?(ptr: number): void;
  };
  readonly dataIdMap: { get(dataId: DataId): { readonly memoryOffset: number } };
  makeOutput(shape: number[], dtype: string): TensorInfo;
  disposeData(dataId: DataId): boolean;
  readSync(dataId: DataId): Float32Array | Int32Array | Uint8Array;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

const hosts = /* @__PURE__ */ new WeakMap<object, Host>();

/** The host of a backend instance; kernels meet theirs on the first call, since tfjs runs no set-up for late ones. */
export function hostOf(backend: object): Host {
  let host = hosts.get(backend);
  if (!host) {
    host = 'wasm' in backend ? wasmHost(backend as WasmTfBackend) : cpuHost(backend as CpuBackend);
    hosts.set(backend, host);
  }
  return host;
}

/** Gives back what MSD holds for a backend instance. */
export function disposeHost(backend: object): void {
  hosts.get(backend)?.dispose();
  hosts.delete(backend);
}

function wasmHost(backend: WasmTfBackend): Host {
  const heap = heapOf(backend);
  return heap ? heapHost(backend, heap) : copyingWasmHost(backend);
}

/** The backend's heap, if its Emscripten module shows it. */
function heapOf({ wasm }: WasmTfBackend): Heap | undefined {
  const memory = wasm.wasmMemory ?? wasm.asm?.memory;
  if (!(memory instanceof WebAssembly.Memory) || memory.buffer !== wasm.HEAPU8.buffer) return undefined;
  if (typeof wasm._malloc !== 'function' || typeof wasm._free !== 'function') return undefined;
  return {
    memory,
    alloc: (byteLength) => wasm._malloc!(byteLength) >>> 0,
    free: (ptr) => wasm._free!(ptr),
  };
}

function heapHost(backend: WasmTfBackend, heap: Heap): Host {
  const msd = createWasmBackend({ heap });
  const addressOf = ({ dataId }: TensorInfo) => backend.dataIdMap.get(dataId).memoryOffset >>> 0;
  return {
    msd,
    weights: 'tfjs heap',
    operand: (tensor) => msd.arena.at(addressOf(tensor), 4 * sizeOf(tensor.shape)),
    packed: (tensor, byteOffset, byteLength) => msd.arena.at(addressOf(tensor) + byteOffset, byteLength),
    bytes: (tensor) => new Uint8Array(heap.memory.buffer, addressOf(tensor), 4 * sizeOf(tensor.shape)),
    output(shape) {
      const tensor = backend.makeOutput(shape, 'float32');
      if (addressOf(tensor) === 0 && sizeOf(shape) > 0) {
        backend.disposeData(tensor.dataId);
        throw new BackendUnavailableError(`matMul: no ${4 * sizeOf(shape)} bytes for the result on tfjs's heap.`);
      }
      return tensor;
    },
    release: ({ dataId }) => void backend.disposeData(dataId),
    // A disposed backend has dropped its module, and the heap with it.
    dispose: () => backend.wasm && msd.dispose(),
  };
}

/** Packed weights on their way through MSD's own memory: one buffer for all, which remembers what it holds. */
function staging(msd: WasmBackend) {
  let buffer: ArenaHandle | undefined;
  let held: { readonly bytes: ArrayBufferLike; readonly at: number; readonly byteLength: number } | undefined;
  return (values: Uint8Array<ArrayBufferLike>): ArenaHandle => {
    const { byteLength } = values;
    if (!buffer || buffer.byteLength < byteLength) {
      if (buffer) msd.arena.free(buffer);
      held = buffer = undefined;
      buffer = msd.arena.alloc(byteLength, 'staged weights');
    }
    const handle = msd.arena.at(buffer.ptr, byteLength);
    if (held?.bytes !== values.buffer || held.at !== values.byteOffset || held.byteLength !== byteLength) {
      msd.arena.bytes(handle).set(values);
      held = { bytes: values.buffer, at: values.byteOffset, byteLength };
    }
    return handle;
  };
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array<ArrayBufferLike> =>
  new Uint8Array(buffer, byteOffset, byteLength);

function cpuHost(backend: CpuBackend): Host {
  const msd = createWasmBackend();
  const stage = staging(msd);
  const bytes = (tensor: TensorInfo) => bytesOf(backend.readSync(tensor.dataId)); // the live values, no copy
  return {
    msd,
    weights: 'copied per call',
    operand(tensor) {
      const values = backend.readSync(tensor.dataId);
      return values instanceof Float32Array ? values : Float32Array.from(values);
    },
    packed: (tensor, byteOffset, byteLength) => stage(bytes(tensor).subarray(byteOffset, byteOffset + byteLength)),
    bytes,
    output: (shape) => backend.makeTensorInfo(shape, 'float32', new Float32Array(sizeOf(shape))),
    release: (tensor) => backend.disposeIntermediateTensorInfo(tensor),
    dispose: () => msd.dispose(),
  };
}

/** The wasm backend of a build whose memory is out of reach: everything is read and written through copies. */
function copyingWasmHost(backend: WasmTfBackend): Host {
  const msd = createWasmBackend();
  const stage = staging(msd);
  const view = (tensor: TensorInfo, byteLength = 4 * sizeOf(tensor.shape)) => {
    const { memoryOffset } = backend.dataIdMap.get(tensor.dataId);
    return new Uint8Array(backend.wasm.HEAPU8.buffer, memoryOffset >>> 0, byteLength);
  };
  return {
    msd,
    weights: 'copied per call',
    operand: (tensor) => {
      const { buffer, byteOffset } = view(tensor);
      return new Float32Array(buffer, byteOffset, sizeOf(tensor.shape));
    },
    packed: (tensor, byteOffset, byteLength) => {
      // Copied every time: tfjs may have put another tensor at the same address.
      return stage(view(tensor).slice(byteOffset, byteOffset + byteLength));
    },
    bytes: view,
    output: (shape) => backend.makeOutput(shape, 'float32'),
    release: ({ dataId }) => void backend.disposeData(dataId),
    dispose: () => msd.dispose(),
  };
}
