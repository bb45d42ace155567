/** Writes an edited model: one file, or a model with its external data beside it. Weights pass through some megabytes of memory. */
import { closeSync, openSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { type ByteRange, Message, readRange } from '@msd/onnx/model';
import { UserError } from '../shared/errors.ts';
import type { Undo } from '../shared/interrupt.ts';
import type { OutputFiles } from '../shared/output-files.ts';
import { diskError, writeFully } from './disk.ts';
import type { Edit } from './edit.ts';
import { encodeModel, inline, type Place } from './encode.ts';
import { WeightsFile } from './weights-file.ts';

/** A protobuf file may have 2 GiB; some room for what is no tensor. */
export const MOST_INLINE_BYTES = 2 ** 31 - 2 ** 27;

/** Smaller tensors stay in the model: shapes are read while it is loaded. */
const LEAST_EXTERNAL_BYTES = 1024;

/** What is copied at a time. */
const CHUNK_BYTES = 2 ** 23;

export interface Written {
  /** Paths with their sizes, the model first. */
  readonly files: readonly { readonly path: string; readonly byteLength: number }[];
  readonly byteLength: number;
}

/** Where tensors of a model lie that are not in it, as Transformers.js calls it: `model.onnx_data`. */
const dataPathOf = (path: string): string => `${path}_data`;

/** All files of a model. */
export const outputPaths = (path: string, isExternal: boolean): readonly string[] =>
  isExternal ? [path, dataPathOf(path)] : [path];

/** A model that is being written. */
export class ModelWriter {
  /** For new tensors, before the model is saved. */
  readonly weights: WeightsFile;
  readonly #undo: Undo;
  readonly #path: string;
  readonly #part: string;
  readonly #dataPath: string | undefined;

  /**
   * @param path what the model will be called
   * @param isExternal tensors go to a file beside it
   */
  constructor(files: OutputFiles, path: string, isExternal: boolean, undo: Undo) {
    this.#undo = undo;
    this.#path = path;
    this.#dataPath = isExternal ? dataPathOf(path) : undefined;
    try {
      this.#part = files.begin(path);
      const data = this.#dataPath && files.begin(this.#dataPath);
      this.weights = new WeightsFile(data ?? join(dirname(path), `.${basename(path)}.weights.part`));
    } catch (error) {
      throw diskError(error, path);
    }
    if (!isExternal) undo.add(() => this.weights.remove());
  }

  /** Writes everything; files get their names when `OutputFiles` commits. */
  async save(edit: Edit, onBytes: (done: number, total: number) => void = () => {}): Promise<Written> {
    const external = this.#dataPath === undefined ? undefined : new Beside(basename(this.#dataPath), this.weights);
    const message = encodeModel(edit, external ?? inline);
    if (message.byteLength > 2 ** 31 - 1)
      throw new UserError(
        `${this.#path}: ${message.byteLength} bytes are more than one ONNX file can have. Add --external-data.`,
      );
    const total = message.byteLength + (external?.bytesToCopy ?? 0);
    let done = 0;
    const copy = async (range: ByteRange, write: (bytes: Uint8Array) => void): Promise<void> => {
      const into = new Uint8Array(Math.min(CHUNK_BYTES, range.length));
      for (let at = 0; at < range.length; at += CHUNK_BYTES) {
        const length = Math.min(CHUNK_BYTES, range.length - at);
        write(readRange({ ...range, offset: range.offset + at, length }, into));
        onBytes((done += length), total);
        await turn();
        this.#undo.check();
      }
    };
    for (const range of external?.copies ?? []) {
      this.weights.begin();
      await copy(range, (bytes) => this.weights.append(bytes));
    }
    const fd = openSync(this.#part, 'w');
    try {
      for (const part of message.parts()) {
        if (part instanceof Uint8Array) writeFully(fd, part, this.#path);
        else await copy(part, (bytes) => writeFully(fd, bytes, this.#path));
      }
    } finally {
      closeSync(fd);
    }
    const files = [{ path: this.#path, byteLength: message.byteLength }];
    if (this.#dataPath !== undefined) {
      files.push({ path: this.#dataPath, byteLength: this.weights.byteLength });
      this.weights.close();
    } else this.weights.remove();
    return { files, byteLength: files.reduce((sum, { byteLength }) => sum + byteLength, 0) };
  }
}

/** Tensors in a file beside the model: new ones are there already, others will be copied behind them. */
class Beside implements Place {
  readonly copies: ByteRange[] = [];
  bytesToCopy = 0;
  readonly #location: string;
  readonly #weights: WeightsFile;
  #end: number;

  constructor(location: string, weights: WeightsFile) {
    this.#location = location;
    this.#weights = weights;
    this.#end = weights.byteLength;
  }

  tensor(head: Parameters<Place['tensor']>[0], data: ByteRange): Message {
    if (data.length < LEAST_EXTERNAL_BYTES) return inline.tensor(head, data);
    let { offset } = data;
    if (!this.#weights.has(data)) {
      offset = WeightsFile.aligned(this.#end);
      this.#end = offset + data.length;
      this.copies.push(data);
      this.bytesToCopy += data.length;
    }
    const message = new Message().ints(1, head.dims).int(2, head.code).string(8, head.name);
    for (const [key, value] of Object.entries({ location: this.#location, offset, length: data.length }))
      message.message(13, new Message().string(1, key).string(2, `${value}`));
    return message.int(14, 1);
  }
}
