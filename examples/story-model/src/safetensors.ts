/** The safetensors file format, float32 only: u64 header length, JSON header, raw little-endian tensors. */
import { elementCount, type WeightArray, type Weights } from './model.ts';

/** The bytes are not a safetensors file that this example can read. */
export class SafetensorsError extends RangeError {
  override readonly name = 'SafetensorsError';
}

const LENGTH_BYTES = 8;

export interface SafetensorsFile {
  readonly weights: Weights;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Bytes of a safetensors file; tensors lie in the order of the map, the data starts 8-byte aligned. */
export function writeSafetensors(weights: Weights, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  for (const [name, { shape, data }] of weights) {
    header[name] = { dtype: 'F32', shape, data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  const json = JSON.stringify(header);
  const text = new TextEncoder().encode(json);
  const headerLength = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(LENGTH_BYTES + headerLength + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength), true);
  bytes.fill(0x20, LENGTH_BYTES, LENGTH_BYTES + headerLength);
  bytes.set(text, LENGTH_BYTES);
  let at = LENGTH_BYTES + headerLength;
  for (const { data } of weights.values()) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return bytes;
}

/**
 * Reads every tensor of a safetensors file; the arrays are copies.
 *
 * @throws {@link SafetensorsError} for a truncated file, a broken header, another dtype or offsets outside the file.
 */
export function readSafetensors(bytes: Uint8Array): SafetensorsFile {
  if (bytes.length < LENGTH_BYTES) {
    throw new SafetensorsError(
      `safetensors: expected at least ${LENGTH_BYTES} bytes, got ${bytes.length}. Is the file truncated?`,
    );
  }
  const headerLength = Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(0, true));
  const dataStart = LENGTH_BYTES + headerLength;
  if (dataStart > bytes.length) {
    throw new SafetensorsError(
      `safetensors: header expected ${headerLength} bytes, file has ${bytes.length - LENGTH_BYTES} after the length. Is the file truncated?`,
    );
  }
  const header = parseHeader(bytes.subarray(LENGTH_BYTES, dataStart));
  const weights = new Map<string, WeightArray>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') metadata = entry as Record<string, string>;
    else weights.set(name, readTensor(name, entry, bytes.subarray(dataStart)));
  }
  return { weights, metadata };
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  try {
    const header: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (typeof header === 'object' && header !== null && !Array.isArray(header))
      return header as Record<string, unknown>;
  } catch (cause) {
    throw new SafetensorsError('safetensors: the header is not JSON.', { cause });
  }
  throw new SafetensorsError('safetensors: the header is not a JSON object.');
}

function isSizeList(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function readTensor(name: string, entry: unknown, data: Uint8Array): WeightArray {
  if (typeof entry !== 'object' || entry === null)
    throw new SafetensorsError(`safetensors: ${name} expected an object.`);
  const { dtype, shape, data_offsets: offsets } = entry as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
  if (dtype !== 'F32') throw new SafetensorsError(`safetensors: ${name} expected dtype F32, got ${String(dtype)}.`);
  if (!isSizeList(shape)) throw new SafetensorsError(`safetensors: ${name} expected a list of sizes as shape.`);
  if (!isSizeList(offsets) || offsets.length !== 2)
    throw new SafetensorsError(`safetensors: ${name} expected two data_offsets.`);
  const [start, end] = offsets as [number, number];
  const byteLength = 4 * elementCount(shape);
  if (end - start !== byteLength) {
    throw new SafetensorsError(
      `safetensors: ${name} expected ${byteLength} bytes for shape [${shape.join(', ')}], got ${end - start}.`,
    );
  }
  if (end > data.length) {
    throw new SafetensorsError(
      `safetensors: ${name} ends at byte ${end}, the data has ${data.length}. Is the file truncated?`,
    );
  }
  // A copy, because the data need not be 4-byte aligned inside `bytes`; `slice` of a Node Buffer would not copy.
  return { shape, data: new Float32Array(new Uint8Array(data.subarray(start, end)).buffer) };
}
