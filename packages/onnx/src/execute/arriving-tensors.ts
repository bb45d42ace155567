/** Tensors of files that are still arriving: which bytes can be freed when a matrix is packed. */
import './create.ts'; // see families.ts
import { piece } from '../ops/index.ts';
import type { Arriving, Stretch } from '../read/arriving.ts';
import type { TensorRef } from '../read/tensor.ts';
import type { Matrix } from '../weights/matrix.ts';
import { placeOf } from './arriving-place.ts';

/** Tensors of one file that is arriving. */
class ArrivingFile {
  readonly #source: Arriving;
  /** By offset: tensors that only matrices use. */
  readonly #loose = new Map<number, Stretch>();
  readonly #held = new Set<number>();
  readonly #all: readonly Stretch[];
  #read = new Set<Stretch>();

  /** @param kept tensors that are also read otherwise */
  constructor(source: Arriving, tensors: readonly Stretch[], kept: ReadonlySet<number>) {
    this.#source = source;
    this.#all = tensors.toSorted((a, b) => a.offset - b.offset);
    source.expect(tensors);
    for (const tensor of tensors) if (!kept.has(tensor.offset)) this.#loose.set(tensor.offset, tensor);
    source.onRead = (stretch) => {
      const tensor = this.#tensorAt(stretch.offset);
      if (tensor) this.#read.add(tensor);
    };
  }

  /** Where the tensor ends that holds the byte before `end`. */
  endOf(end: number): number {
    const tensor = this.#tensorAt(end - 1);
    return tensor ? tensor.offset + tensor.length : end;
  }

  /** Packing of a matrix begins: what is read from now on belongs to it. */
  begin(): void {
    this.#read = new Set();
  }

  /** The matrix is packed. */
  end(): void {
    for (const tensor of this.#read) if (!this.#held.has(tensor.offset)) this.#letGo(tensor);
  }

  /** The tensor has to be kept. */
  hold({ offset }: Stretch): void {
    this.#held.add(offset);
  }

  /** The tensor is not needed any more. */
  drop(tensor: Stretch): void {
    this.#held.delete(tensor.offset);
    this.#letGo(tensor);
  }

  #letGo(tensor: Stretch): void {
    if (this.#loose.delete(tensor.offset)) this.#source.release(tensor);
  }

  close(): void {
    this.#source.onRead = undefined;
  }

  #tensorAt(offset: number): Stretch | undefined {
    let [low, high] = [0, this.#all.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#all[middle]!.offset <= offset) low = middle + 1;
      else high = middle;
    }
    const tensor = this.#all[low - 1];
    return tensor && offset < tensor.offset + tensor.length ? tensor : undefined;
  }
}

/** Tensors of arriving files that several matrices use: they are kept until the last one is packed. */
class Uses {
  readonly #files: ReadonlyMap<Arriving, ArrivingFile>;
  /** By the place of a tensor. */
  readonly #left = new Map<string, number>();

  constructor(files: ReadonlyMap<Arriving, ArrivingFile>, matrices: readonly Matrix[]) {
    this.#files = files;
    for (const matrix of matrices) this.#each(matrix, (key) => this.#left.set(key, (this.#left.get(key) ?? 0) + 1));
    for (const matrix of matrices)
      this.#each(matrix, (key, file, stretch) => {
        if (this.#left.get(key)! > 1) file.hold(stretch);
      });
  }

  /** A matrix is packed. */
  done(matrix: Matrix): void {
    this.#each(matrix, (key, file, stretch) => {
      const left = this.#left.get(key)! - 1;
      this.#left.set(key, left);
      if (left === 0) file.drop(stretch);
    });
  }

  #each({ tensors = [] }: Matrix, use: (key: string, file: ArrivingFile, stretch: Stretch) => void): void {
    for (const tensor of tensors) {
      const [source, stretch] = placeOf(tensor) ?? [];
      const file = source && this.#files.get(source);
      if (file && stretch) use(`${source.name} ${stretch.offset}`, file, stretch);
    }
  }
}

/** Files that are still arriving: all their tensors, and those that are not only packed. */
export interface ArrivingTensors {
  readonly tensors: Iterable<TensorRef>;
  readonly kept: Iterable<TensorRef>;
}

function filesOf({ tensors, kept }: ArrivingTensors): Map<Arriving, ArrivingFile> {
  const stretches = new Map<Arriving, Map<number, Stretch>>();
  const others = new Map<Arriving, Set<number>>();
  for (const tensor of tensors) {
    const [source, stretch] = placeOf(tensor) ?? [];
    if (!source || !stretch) continue;
    let list = stretches.get(source);
    if (!list) stretches.set(source, (list = new Map()));
    list.set(stretch.offset, stretch);
  }
  for (const tensor of kept) {
    const [source, stretch] = placeOf(tensor) ?? [];
    if (!source || !stretch) continue;
    let set = others.get(source);
    if (!set) others.set(source, (set = new Set()));
    set.add(stretch.offset);
  }
  return new Map(
    [...stretches].map(([source, list]) => [
      source,
      new ArrivingFile(source, [...list.values()], others.get(source) ?? new Set()),
    ]),
  );
}

export type { ArrivingFile };

/** Few files are read while they arrive, so this code is a piece of its own. */
export const tracking = /* @__PURE__ */ piece({ filesOf, Uses });
