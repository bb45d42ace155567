/**
 * A seeded decoder on disk. A process of its own writes it (`node decoder-files.ts REQUEST`), whose memory is gone afterwards.
 *
 *   model.onnx          all of it, or only the graph
 *   model.onnx_data     the large tensors, if they are apart, and
 *   model.onnx_data_1   where they are more than fits a file of that packaging
 *   decoder.json        what is where, for those who read and pack without a session
 */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type EncodedSpec, type TensorSpec, writeModel } from '@msd/onnx/write';
import { dataTypeCode } from '../../../packages/onnx/src/data-types.ts';
import { type ByteRange, bytesSource } from '../../../packages/onnx/src/read/source.ts';
import { Message } from '../../../packages/onnx/src/write/message.ts';
import { type DecoderShape, decoderModel, type Embedding } from './decoder.ts';

/** One file; a file with the large tensors beside the graph; or as many as it takes with a gigabyte in each. */
export type Packaging = 'single' | 'external' | 'parts';

export interface DecoderRequest {
  readonly folder: string;
  readonly shape: DecoderShape;
  readonly embedding: Embedding;
  readonly packaging: Packaging;
}

/** A tensor's bytes in a file of the folder. */
export interface Stretch {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

export interface DecoderFiles {
  readonly request: DecoderRequest;
  /** Names in the folder; the model itself comes first. */
  readonly files: readonly string[];
  readonly byteLength: number;
  /** int4 matrices in blocks of 32. */
  readonly matrices: readonly {
    readonly N: number;
    readonly K: number;
    readonly data: Stretch;
    readonly scales: Stretch;
  }[];
}

const MODEL = 'model.onnx';
const DATA = 'model.onnx_data';
const MANIFEST = 'decoder.json';
/** Smaller tensors stay in the graph, as exporters do it: they may be needed for its shapes. */
const LARGE_BYTES = 1024;
/** A file that has reached this is full: the next tensor begins another one. */
const PART_BYTES = 2 ** 30;
/** Written at once. */
const PIECE_BYTES = 2 ** 26;

/** Writes the decoder, unless the folder holds the same one. */
export function writeDecoder(request: DecoderRequest): DecoderFiles {
  const manifest = join(request.folder, MANIFEST);
  const same = () =>
    existsSync(manifest) &&
    JSON.stringify((JSON.parse(readFileSync(manifest, 'utf8')) as DecoderFiles).request) === JSON.stringify(request);
  if (!same()) {
    const args = [fileURLToPath(import.meta.url), JSON.stringify(request)];
    const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
    if (status !== 0) throw new Error(`bench: writing the decoder ended with ${String(status)}.`);
  }
  return JSON.parse(readFileSync(manifest, 'utf8')) as DecoderFiles;
}

function write(request: DecoderRequest): void {
  const { folder, shape, embedding, packaging } = request;
  mkdirSync(folder, { recursive: true });
  const model = decoderModel(shape, embedding);
  const tensors = model.graph.initializers as TensorSpec[];
  const places = new Map<string, Stretch>();
  const initializers =
    packaging === 'single'
      ? inOneFile(tensors, places)
      : besideIt(tensors, places, folder, packaging === 'parts' ? PART_BYTES : Number.POSITIVE_INFINITY);
  const bytes = writeModel({ ...model, graph: { ...model.graph, initializers } });
  writeFileSync(join(folder, MODEL), bytes);
  const matrices = tensors
    .filter(({ name }) => name.endsWith('_Q4'))
    .map(({ name, dims: [N = 0, blocks = 0, blob = 0] }) => ({
      N,
      K: 2 * blocks * blob,
      data: places.get(name)!,
      scales: places.get(name.replace(/_Q4$/, '_scales'))!,
    }));
  const apart = [...places.values()].filter(({ file }) => file !== MODEL);
  const files: DecoderFiles = {
    request,
    files: [MODEL, ...new Set(apart.map(({ file }) => file))],
    byteLength: bytes.length + apart.reduce((sum, { length }) => sum + length, 0),
    matrices,
  };
  writeFileSync(join(folder, MANIFEST), JSON.stringify(files));
}

/** The writer asks for a range's bytes with the place in the file where it wants them: that place is noted. */
function inOneFile(tensors: readonly TensorSpec[], places: Map<string, Stretch>): TensorSpec[] {
  return tensors.map((tensor) => {
    const { source, length: byteLength } = rangeOf(tensor);
    const read = (offset: number, length: number, into?: Uint8Array): Uint8Array => {
      if (into) places.set(tensor.name, { file: MODEL, offset: into.byteOffset, length });
      return source.read(offset, length, into);
    };
    return { ...tensor, data: { source: { ...source, read }, offset: 0, length: byteLength } };
  });
}

function besideIt(
  tensors: readonly TensorSpec[],
  places: Map<string, Stretch>,
  folder: string,
  most: number,
): (TensorSpec | EncodedSpec)[] {
  const piece = new Uint8Array(PIECE_BYTES);
  let parts = 0;
  let name = DATA;
  let file = openSync(join(folder, name), 'w');
  let offset = 0;
  const specs = tensors.map((tensor) => {
    const { source, length } = rangeOf(tensor);
    if (length < LARGE_BYTES) return tensor;
    if (offset >= most) {
      closeSync(file);
      name = `${DATA}_${++parts}`;
      file = openSync(join(folder, name), 'w');
      offset = 0;
    }
    for (let at = 0; at < length; ) {
      const bytes = source.read(at, Math.min(PIECE_BYTES, length - at), piece);
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done);
      at += bytes.length;
    }
    const stretch = { file: name, offset, length };
    places.set(tensor.name, stretch);
    offset += length;
    return { encoded: externalTensor(tensor, stretch) };
  });
  closeSync(file);
  return specs;
}

/** A TensorProto that names a stretch of a file. */
function externalTensor({ name, dims, dtype }: TensorSpec, { file: location, offset, length }: Stretch): Uint8Array {
  const message = new Message().ints(1, dims).int(2, dataTypeCode(dtype)!).string(8, name);
  for (const [key, value] of Object.entries({ location, offset, length }))
    message.message(13, new Message().string(1, key).string(2, String(value)));
  return message.int(14, 1).finish();
}

function rangeOf({ name, data }: TensorSpec): ByteRange {
  if ('source' in data) return data;
  const source = bytesSource(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), name);
  return { source, offset: 0, length: data.byteLength };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) write(JSON.parse(process.argv[2]!) as DecoderRequest);
