/** Results of a session in a Worker. They have the members of ONNX Runtime's tensors, and need no ONNX Runtime on the page. */
import { countOf } from '../dims.ts';
import type { OrtData } from '../ort.ts';
import type { SentTensor } from './messages.ts';

/** The Worker's side of tensors that stay there. */
export interface Keeper {
  read(kept: number): Promise<OrtData>;
  drop(kept: number): void;
}

/** Nobody calls dispose on what he has lost. */
const lost = /* @__PURE__ */ new FinalizationRegistry<{ readonly keeper: Keeper; readonly kept: number }>(
  ({ keeper, kept }) => keeper.drop(kept),
);

/** A tensor whose elements are here, or with the Worker that computed them: then it can be fed again, at no cost. */
export class WorkerTensor {
  readonly type: string;
  readonly dims: readonly number[];
  /** Number of elements. */
  readonly size: number;
  readonly #keeper: Keeper;
  #data: OrtData | undefined;
  #kept: number | undefined;

  constructor({ type, dims, data, kept }: SentTensor, keeper: Keeper) {
    this.type = type;
    this.dims = dims;
    this.size = countOf(dims);
    this.#keeper = keeper;
    this.#data = data;
    this.#kept = kept;
    if (kept !== undefined) lost.register(this, { keeper, kept }, this);
  }

  /** 'cpu': the elements are here; 'worker': the Worker keeps them; 'none' after `dispose()`. */
  get location(): 'cpu' | 'worker' | 'none' {
    if (this.#data) return 'cpu';
    return this.#kept === undefined ? 'none' : 'worker';
  }

  /** Its elements. Throws where they are not here: `await tensor.getData()`. */
  get data(): OrtData {
    if (this.#data) return this.#data;
    throw new Error(
      `tensor: data, expected its elements on this side, got location '${this.location}': ${this.#kept === undefined ? 'it was disposed' : 'await tensor.getData()'}.`,
    );
  }

  /** Its elements, a copy of what the Worker keeps. @param releaseData is it no longer needed there? */
  async getData(releaseData = false): Promise<OrtData> {
    if (this.#kept === undefined) return this.data;
    const data = await this.#keeper.read(this.#kept);
    if (releaseData) {
      this.dispose();
      this.#data = data;
    }
    return data;
  }

  /** Lets go of the elements, wherever they are. */
  dispose(): void {
    this.#data = undefined;
    if (this.#kept === undefined) return;
    lost.unregister(this);
    this.#keeper.drop(this.#kept);
    this.#kept = undefined;
  }

  /** Its number with this Worker; `undefined` where it keeps nothing of it. @throws `RangeError` for what another one keeps */
  keptBy(keeper: Keeper, name: string): number | undefined {
    if (this.#kept !== undefined && keeper !== this.#keeper)
      throw new RangeError(
        `run: feed '${name}', expected a tensor of this session or one with its elements here, got one that another session's Worker keeps: await tensor.getData() and feed that.`,
      );
    return this.#kept;
  }
}
