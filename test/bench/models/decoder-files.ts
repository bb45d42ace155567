/**
 * A seeded decoder on disk. A process of its own writes it (`node decoder-files.ts REQUEST`), whose memory is gone afterwards.
 *
 *   model.onnx          all of it, or only the graph
 *   model.onnx.data     the large tensors, if they are apart
 *   decoder.json        what is where, for those who read and pack without a session
 */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type EncodedSpec, type TensorSpec, writeModel } from '@msd/onnx/write';
import { dataTypeCode } from '../../../packages/onnx/src/data-types.ts';
import { Message } from '../../../packages/onnx/src/write/message.ts';
import { type DecoderShape, decoderModel, type Embedding } from './decoder.ts';

/** One file, or a file with the large tensors beside the graph. */
export type Packaging = 'single' | 'external';

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
const DATA = 'model.onnx.data';
const MANIFEST = 'decoder.json';
/** Smaller tensors stay in the graph, as exporters do it: they may be needed for its shapes. */
const LARGE_BYTES = 1024;

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
    packaging === 'single' ? inOneFile(tensors, places) : besideIt(tensors, places, join(folder, DATA));
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
  const apart = [...places.values()].filter(({ file }) => file === DATA);
  const files: DecoderFiles = {
    request,
    files: packaging === 'single' ? [MODEL] : [MODEL, DATA],
    byteLength: bytes.length + apart.reduce((sum, { length }) => sum + length, 0),
    matrices,
  };
  writeFileSync(join(folder, MANIFEST), JSON.stringify(files));
}

/** The writer asks for a range's bytes with the place in the file where it wants them: that place is noted. */
function inOneFile(tensors: readonly TensorSpec[], places: Map<string, Stretch>): TensorSpec[] {
  return tensors.map((tensor) => {
    const bytes = bytesOf(tensor);
    const read = (offset: number, length: number, into?: Uint8Array): Uint8Array => {
      if (into) places.set(tensor.name, { file: MODEL, offset: into.byteOffset, length });
      return bytes.subarray(offset, offset + length);
    };
    const source = { name: tensor.name, byteLength: bytes.length, read, close: () => {} };
    return { ...tensor, data: { source, offset: 0, length: bytes.length } };
  });
}

function besideIt(
  tensors: readonly TensorSpec[],
  places: Map<string, Stretch>,
  path: string,
): (TensorSpec | EncodedSpec)[] {
  const file = openSync(path, 'w');
  let offset = 0;
  const specs = tensors.map((tensor) => {
    const bytes = bytesOf(tensor);
    const { length } = bytes;
    if (length < LARGE_BYTES) return tensor;
    for (let done = 0; done < length; ) done += writeSync(file, bytes, done, length - done);
    places.set(tensor.name, { file: DATA, offset, length });
    const encoded = externalTensor(tensor, offset, length);
    offset += length;
    return { encoded };
  });
  closeSync(file);
  return specs;
}

/** A TensorProto that names a stretch of a file. */
function externalTensor({ name, dims, dtype }: TensorSpec, offset: number, length: number): Uint8Array {
  const message = new Message().ints(1, dims).int(2, dataTypeCode(dtype)!).string(8, name);
  for (const [key, value] of Object.entries({ location: DATA, offset, length }))
    message.message(13, new Message().string(1, key).string(2, String(value)));
  return message.int(14, 1).finish();
}

function bytesOf({ name, data }: TensorSpec): Uint8Array {
  if (!ArrayBuffer.isView(data)) throw new TypeError(`decoder: tensor ${name}: data, expected an array in memory.`);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) write(JSON.parse(process.argv[2]!) as DecoderRequest);
