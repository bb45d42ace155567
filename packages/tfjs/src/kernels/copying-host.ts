/**
 * tfjs backends whose tensors are typed arrays to MSD: cpu, and wasm builds whose memory is out of reach. Packed weights pass
 * through MSD's own memory on each call.
 */
import { type ArenaHandle, createWasmBackend, type PreparedWeights, type WasmBackend } from '@msd/core';
import { sizeOf } from '../shapes.ts';
import { type MatrixSpec, planeBytes } from '../spec.ts';
import type { DataId, TensorInfo } from '../tf.ts';
import type { WasmTfBackend } from './heap-host.ts';
import { Adopted, type Host, type Places } from './host.ts';
import { addOffset, readRows } from './in-memory.ts';
import { Products } from './products.ts';

/** Elements of a tensor. */
type Values = Float32Array | Int32Array | Uint8Array;

/** A backend, and how its tensors are seen. */
interface Tensors {
  /** The live values, no copy. */
  values(tensor: TensorInfo): Values;
  /** Values of a tensor are an array of their own: the same bytes are the same values. */
  readonly areStable: boolean;
  make(shape: number[]): TensorInfo;
  release(tensor: TensorInfo): void;
}

/** What the cpu backend of tfjs has besides its public type. */
interface CpuBackend {
  readSync(dataId: DataId): Values | readonly number[];
  makeTensorInfo(shape: number[], dtype: string, values: Float32Array): TensorInfo;
  disposeIntermediateTensorInfo(tensor: TensorInfo): void;
}

export function cpuHost(tfBackend: object): Host<Values> {
  const backend = tfBackend as CpuBackend;
  return copyingHost({
    values({ dataId, dtype }) {
      const values = backend.readSync(dataId);
      const wanted = dtype === 'int32' ? Int32Array : dtype === 'bool' ? Uint8Array : Float32Array;
      return values instanceof wanted ? values : wanted.from(values as readonly number[]);
    },
    areStable: true,
    make: (shape) => backend.makeTensorInfo(shape, 'float32', new Float32Array(sizeOf(shape))),
    release: (tensor) => backend.disposeIntermediateTensorInfo(tensor),
  });
}

export function hiddenHeapHost(backend: WasmTfBackend): Host<Values> {
  return copyingHost({
    values({ dataId, dtype, shape }) {
      const at = backend.dataIdMap.get(dataId).memoryOffset >>> 0;
      const [{ buffer }, size] = [backend.wasm.HEAPU8, sizeOf(shape)];
      if (dtype === 'int32') return new Int32Array(buffer, at, size);
      return dtype === 'bool' ? new Uint8Array(buffer, at, size) : new Float32Array(buffer, at, size);
    },
    areStable: false, // tfjs may have put another tensor at the same address
    make: (shape) => backend.makeOutput(shape, 'float32'),
    release: ({ dataId }) => void backend.disposeData(dataId),
  });
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Values): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

function copyingHost({ values, areStable, make, release }: Tensors): Host<Values> {
  const msd = createWasmBackend();
  const stage = staging(msd, areStable);
  const matrices = new Adopted<PreparedWeights, ArenaHandle>((a, b) => a.ptr === b.ptr);
  const products = new Adopted<Products, ArenaHandle>((a, b) => a.ptr === b.ptr);
  const matrixOf = (w: TensorInfo, spec: MatrixSpec, plane: number): readonly [PreparedWeights, ArenaHandle] => {
    const byteLength = planeBytes(spec);
    const place = stage(bytesOf(values(w)).subarray(plane * byteLength, (plane + 1) * byteLength));
    return [matrices.get(w, spec, plane, place, () => msd.adopt(spec, place)), place];
  };
  const floats = (place: Values) => place as Float32Array;
  const integers = (place: Values) => place as Int32Array;
  return {
    weights: 'copied per call',
    output(shape, _inputs, fill) {
      const y = make(shape);
      if (sizeOf(shape) === 0) return y;
      try {
        fill(y);
      } catch (error) {
        release(y);
        throw error;
      }
      return y;
    },
    at: (tensor, at = 0, length = sizeOf(tensor.shape)) => values(tensor).subarray(at, at + length),
    product(x, w, spec, plane, { bias, residual, out, ...options }) {
      const [matrix] = matrixOf(w, spec, plane);
      const operands = { bias: bias && floats(bias), residual: residual && floats(residual), out: floats(out) };
      msd.matmul(floats(x), matrix, { ...options, ...operands });
    },
    addOffset: (x, options) => addOffset(floats(x), { ...options, out: floats(options.out) }),
    rows: (source, w, { out, indices, segments }) =>
      readRows(source, bytesOf(w), {
        out: floats(out),
        indices: indices && integers(indices),
        segments: segments && { ...segments, ids: integers(segments.ids) },
      }),
    integers: values,
    memory: {
      device: msd,
      places: throughArena(msd, (tensor) => bytesOf(values(tensor))),
      product(x, w, spec, plane, options) {
        const [matrix, place] = matrixOf(w, spec, plane);
        products.get(w, spec, plane, place, () => new Products(msd, matrix)).run(x, options);
      },
      addOffset: (x, options) => addOffset(msd.arena.float32(x), { ...options, out: msd.arena.float32(options.out) }),
    },
    dispose: () => msd.dispose(),
  };
}

/** Operands pass through MSD's memory, and what a kernel left in them comes back into the last ones. */
function throughArena({ arena }: WasmBackend, bytes: (tensor: TensorInfo) => Uint8Array): Places {
  return (tensors, use, results = 1) => {
    const places = tensors.map((tensor) => {
      if (!tensor) return undefined;
      const given = bytes(tensor);
      const place = arena.alloc(given.byteLength, 'operand');
      arena.bytes(place).set(given);
      return place;
    });
    try {
      use(places);
      for (let i = tensors.length - results; i < tensors.length; i++) {
        const [result, place] = [tensors[i], places[i]];
        if (result && place) bytes(result).set(arena.bytes(place));
      }
    } finally {
      for (const place of places) if (place) arena.free(place);
    }
  };
}

/** Packed weights on their way through MSD's own memory: one buffer for all, which remembers what it holds. */
function staging(msd: WasmBackend, areStable: boolean) {
  let buffer: ArenaHandle | undefined;
  let held: Uint8Array | undefined;
  return (values: Uint8Array): ArenaHandle => {
    const { byteLength } = values;
    if (!buffer || buffer.byteLength < byteLength) {
      if (buffer) msd.arena.free(buffer);
      held = buffer = undefined;
      buffer = msd.arena.alloc(byteLength, 'staged weights');
    }
    const handle = msd.arena.at(buffer.ptr, byteLength);
    if (areStable && held && isSame(held, values)) return handle;
    msd.arena.bytes(handle).set(values);
    held = values;
    return handle;
  };
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean =>
  a.buffer === b.buffer && a.byteOffset === b.byteOffset && a.byteLength === b.byteLength;
