/** Results of passes, stacked along an axis. */
import { jsDataType } from '../../data-types.ts';
import { countOf, sameNumbers } from '../../dims.ts';
import { type Info, isKnown } from '../../ir/info.ts';
import { createOrtTensor, type OrtModule, type OrtTensor } from '../../ort.ts';
import { ARRAYS } from '../arrays.ts';

/** An array of numbers, whichever. */
type Elements = Float32Array;

export class Stack {
  readonly #where: string;
  /** Type of each result, if there is no pass. */
  readonly #info: Info;
  readonly #axis: number;
  readonly #isReversed: boolean;
  readonly #tensors: OrtTensor[] = [];

  /** @param where for messages */
  constructor(where: string, info: Info, axis = 0, isReversed = false) {
    this.#where = where;
    this.#info = info;
    this.#axis = axis;
    this.#isReversed = isReversed;
  }

  /** @throws `RangeError` if it has other sizes than those before */
  push(tensor: OrtTensor): void {
    const [first] = this.#tensors;
    if (first && !sameNumbers(first.dims, tensor.dims))
      throw new RangeError(
        `run: ${this.#where}, expected the same shape in every pass, got [${first.dims.join(', ')}] and [${tensor.dims.join(', ')}].`,
      );
    this.#tensors.push(tensor);
  }

  /** @throws `RangeError` if the axis is none */
  whole(ort: OrtModule): OrtTensor {
    const tensors = this.#isReversed ? this.#tensors.toReversed() : this.#tensors;
    const [first] = tensors;
    const type = first?.type ?? jsDataType(this.#info.elemType) ?? 'float32';
    const dims = first?.dims ?? this.#emptyDims();
    const rank = first ? dims.length + 1 : dims.length;
    const axis = this.#axis < 0 ? this.#axis + rank : this.#axis;
    if (!(axis >= 0 && axis < Math.max(rank, 1)))
      throw new RangeError(`run: ${this.#where}, expected an axis of ${rank} dimensions, got ${this.#axis}.`);
    if (!first) return createOrtTensor(ort, type, new ARRAYS[type]![0](new ArrayBuffer(0)), dims);
    const size = countOf(dims);
    const inner = countOf(dims.slice(axis));
    const Type = (first.data as Elements).constructor as new (count: number) => Elements;
    const out = new Type(size * tensors.length);
    const row = inner * tensors.length;
    for (const [i, { data }] of tensors.entries())
      for (let from = 0, to = i * inner; from < size; from += inner, to += row)
        out.set((data as Elements).subarray(from, from + inner), to);
    return createOrtTensor(ort, type, out, dims.toSpliced(axis, 0, tensors.length));
  }

  /** As in ONNX Runtime, unknown sizes are 0. */
  #emptyDims(): readonly number[] {
    const { dims } = this.#info;
    if (!dims) return [0];
    const known = dims.map((dim) => (isKnown([dim]) ? (dim as number) : 0));
    return known.toSpliced(this.#axis < 0 ? this.#axis + known.length + 1 : this.#axis, 0, 0);
  }
}
