/** The shared conformance data, where a checkout has it beside the repository. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jsDataType } from '../src/data-types.ts';
import { Cursor } from '../src/read/cursor.ts';
import { bytesSource, readRange } from '../src/read/source.ts';
import { readTensor, tensorBytes } from '../src/read/tensor.ts';
import { ort } from './ort.ts';

const folder = fileURLToPath(new URL('../../../../shared/conformance', import.meta.url));

/** `undefined` where the data is absent; tests then skip. */
export const conformanceFolder: string | undefined = existsSync(folder) ? folder : undefined;

/** Array classes of the element types in JavaScript tensors. */
export const ARRAYS: Readonly<Record<string, new (buffer: ArrayBuffer) => ArrayBufferView>> = {
  float32: Float32Array,
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
  float16: typeof Float16Array === 'undefined' ? Uint16Array : Float16Array,
  float64: Float64Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  uint4: Uint8Array,
  int4: Uint8Array,
};

/** Reads a serialized TensorProto. */
export function readTensorFile(path: string): { name: string; tensor: ort.Tensor } {
  const source = bytesSource(readFileSync(path));
  const ref = readTensor(Cursor.over(source, 'TensorProto'), { locations: new Set(), sources: new Map() });
  const type = jsDataType(ref.elemType)!;
  if (type === 'string') {
    const cursor = Cursor.overRange(ref.proto, 'TensorProto');
    const strings: string[] = [];
    while (cursor.next()) {
      if (cursor.field === 6) strings.push(new TextDecoder().decode(readRange(cursor.range())));
      else cursor.skip();
    }
    return { name: ref.name, tensor: new ort.Tensor('string', strings, ref.dims) };
  }
  const data = new ARRAYS[type]!(new Uint8Array(tensorBytes(ref)).buffer);
  return { name: ref.name, tensor: new ort.Tensor(type, data as Float32Array, ref.dims) as ort.Tensor };
}

/** Files `input_<j>.pb` or `output_<j>.pb` of a data set, in order. */
export function readTensorFiles(directory: string, kind: 'input' | 'output'): { name: string; tensor: ort.Tensor }[] {
  const files = readdirSync(directory).filter((file) => file.startsWith(`${kind}_`));
  return files.map((_, index) => readTensorFile(join(directory, `${kind}_${index}.pb`)));
}

const LOWEST = -3.4028234663852886e38;

/** The first element outside 1e-4 + 1e-3·|expected| (and MSD's bound; integers and strings: not equal), as text. */
export function firstDifference(
  got: ort.Tensor | undefined,
  expected: ort.Tensor,
  bound?: Float64Array,
): string | undefined {
  if (!got || got.type !== expected.type) return `type: expected ${expected.type}, got ${got?.type}`;
  if (JSON.stringify(got.dims) !== JSON.stringify(expected.dims))
    return `dims: expected ${expected.dims}, got ${got.dims}`;
  const exact = !expected.type.startsWith('float');
  for (let i = 0; i < expected.data.length; i++) {
    const [a, b] = [got.data[i]!, expected.data[i]!];
    if (exact ? a === b : isClose(Number(a), Number(b), bound?.[i])) continue;
    return `[${i}]: expected ${b}, got ${a}`;
  }
  return undefined;
}

function isClose(a: number, b: number, bound = 0): boolean {
  if (Number.isNaN(b)) return Number.isNaN(a);
  if (b === Number.NEGATIVE_INFINITY || b === LOWEST) return a <= LOWEST; // masked scores; see the folder's README
  return a === b || Math.abs(a - b) <= bound + 1e-4 + 1e-3 * Math.abs(b);
}

/** Names of the models in a group. */
export function modelFolders(group: string): string[] {
  if (!conformanceFolder) return [];
  const root = join(conformanceFolder, group);
  return readdirSync(root).filter((name) => existsSync(join(root, name, 'model.onnx')));
}
