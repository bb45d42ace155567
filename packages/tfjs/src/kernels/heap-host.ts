/** tfjs's wasm backend, on its own heap: operands lie where tfjs put them, and so do results. */
import { type ArenaHandle, BackendUnavailableError, createWasmBackend, type Heap } from '@msd/core';
import { sizeOf } from '../shapes.ts';
import { type MatrixSpec, planeBytes } from '../spec.ts';
import type { DataId, TensorInfo } from '../tf.ts';
import { Adopted, type Host } from './host.ts';
import { addOffset, readRows } from './in-memory.ts';
import { Products } from './products.ts';

/** What the wasm backend of tfjs has besides its public type. */
export interface WasmTfBackend {
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
}

/** The backend's heap, if its Emscripten module shows it. */
export function heapOf({ wasm }: WasmTfBackend): Heap | undefined {
  const memory = wasm.wasmMemory ?? wasm.asm?.memory;
  if (!(memory instanceof WebAssembly.Memory) || memory.buffer !== wasm.HEAPU8.buffer) return undefined;
  if (typeof wasm._malloc !== 'function' || typeof wasm._free !== 'function') return undefined;
  return {
    memory,
    // It would take what is left of a larger number modulo 2³².
    alloc: (byteLength) => (byteLength < 2 ** 32 ? wasm._malloc!(byteLength) >>> 0 : 0),
    free: (ptr) => wasm._free!(ptr),
  };
}

/** What working memory is made for: more rows are multiplied in parts. */
const MANY_ROWS = 256;
const LINE = 64;

export function heapHost(backend: WasmTfBackend, heap: Heap): Host<ArenaHandle> {
  const msd = createWasmBackend({ heap });
  const { arena } = msd;
  const matrices = new Adopted<Products, ArenaHandle>((a, b) => a.ptr === b.ptr);
  const addressOf = ({ dataId }: TensorInfo) => backend.dataIdMap.get(dataId).memoryOffset >>> 0;
  const integersAt = ({ ptr, byteLength }: ArenaHandle) => new Int32Array(heap.memory.buffer, ptr, byteLength / 4);
  const placeOf = (tensor: TensorInfo) =>
    arena.at(addressOf(tensor), (tensor.dtype === 'bool' ? 1 : 4) * sizeOf(tensor.shape));
  const productsOf = (w: TensorInfo, spec: MatrixSpec, plane: number): Products => {
    const byteLength = planeBytes(spec);
    const place = arena.at(addressOf(w) + plane * byteLength, byteLength);
    return matrices.get(w, spec, plane, place, () => new Products(msd, msd.adopt(spec, place)));
  };
  const host: Host<ArenaHandle> = {
    weights: 'tfjs heap',
    output(shape, _inputs, fill) {
      const y = backend.makeOutput(shape, 'float32');
      const size = sizeOf(shape);
      if (size === 0) return y;
      try {
        if (addressOf(y) === 0)
          throw new BackendUnavailableError(`matMul: no ${4 * size} bytes for the result on tfjs's heap.`);
        fill(y);
      } catch (error) {
        backend.disposeData(y.dataId);
        throw error;
      }
      return y;
    },
    at: (tensor, at = 0, length = sizeOf(tensor.shape)) => arena.at(addressOf(tensor) + 4 * at, 4 * length),
    product: (x, w, spec, plane, options) => productsOf(w, spec, plane).run(x, options),
    reserve(w, spec, arithmetic) {
      const [xBytes, yBytes] = [4 * MANY_ROWS * spec.K, 4 * MANY_ROWS * spec.N];
      if (xBytes + yBytes > arena.byteLength / 2) return;
      // Operands come with a run; until then any place is as good as another.
      const [x, out] = [arena.at(LINE, xBytes), arena.at(LINE + xBytes, yBytes)];
      productsOf(w, spec, 0).prepare({ M: MANY_ROWS, ...arithmetic, out }, x);
    },
    addOffset: (x, options) => addOffset(arena.float32(x), { ...options, out: arena.float32(options.out) }),
    rows: (source, w, { out, indices, segments }) =>
      readRows(source, arena.bytes(w), {
        out: arena.float32(out),
        indices: indices && integersAt(indices),
        segments: segments && { ...segments, ids: integersAt(segments.ids) },
      }),
    integers: (tensor) => integersAt(host.at(tensor)),
    memory: {
      device: msd,
      places: (tensors, use) => use(tensors.map((tensor) => tensor && placeOf(tensor))),
      product: (...args) => host.product(...args),
      addOffset: (...args) => host.addOffset(...args),
    },
    // A disposed backend has dropped its module, and the heap with it.
    dispose: () => backend.wasm && msd.dispose(),
  };
  return host;
}
