/**
 * The words that attention's kernels read: an image in JavaScript that every run copies to scratch. Most of its words
 * stay.
 *
 *   append | attend | keys of each sequence | what each sequence has | slopes
 */
import type { AttentionOp, HeadStrides, ResolvedKvShape, ScoreDims } from '../../attention/contract.ts';
import { LINE, pageLayout } from '../../attention/page.ts';
import type { TaskScratch, Tiling } from '../../attention/scratch.ts';
import { ADDED, APPEND, SEQUENCE, WORK } from '../../attention/work.ts';
import { roundUp } from '../../formats/layout.ts';
import type { ArenaHandle } from '../arena.ts';
import { ATTENTION_OPERANDS, OUT_OPERAND, type ResolvedRun } from '../attention-arguments.ts';

type Run = ResolvedRun<ArenaHandle>;
type Named<N extends string> = Readonly<Partial<Record<N, number>>>;

const [Q, K, V, SINKS, BIAS, MASK] = ATTENTION_OPERANDS.keys();
/** Where the parts of the image begin, in words: of whole lines, so that no two of them share one. */
const up = (words: number): number => roundUp(words, LINE / 4);
const indexed = <N extends string>(names: readonly N[], first: number): Readonly<Record<N, number>> =>
  Object.fromEntries(names.map((name, i) => [name, first + i])) as Record<N, number>;

const ATTEND_WORD = up(APPEND.length);
const SEQUENCES_WORD = ATTEND_WORD + up(WORK.length);
const TO_APPEND = /* @__PURE__ */ indexed(APPEND, 0);
const TO_ATTEND = /* @__PURE__ */ indexed(WORK, ATTEND_WORD);

/** Where kernels look. */
export const APPEND_BYTE = 0;
export const ATTEND_BYTE: number = 4 * ATTEND_WORD;

/** Places of a run, as addresses. */
export interface RunPlaces {
  /** Of the image. */
  readonly image: number;
  /** Copies of JavaScript arrays. */
  readonly bias: number;
  readonly mask: number;
  /** Scratch of append, and where integers lie in it. */
  readonly row: number;
  readonly integersInRow: number;
  /** Scratch of the first thread's tasks. */
  readonly tasks: number;
}

export class AttentionWords {
  readonly image: Int32Array;
  readonly #op: AttentionOp;
  readonly #added: number;
  readonly #sequences: number;
  readonly #alibi: number;

  constructor(op: AttentionOp, tiling: Tiling) {
    const { batch, rows, heads, kvHeads, headSize, valueSize, window, softcap, scale = 1 / Math.sqrt(headSize) } = op;
    this.#op = op;
    this.#added = SEQUENCES_WORD;
    this.#sequences = this.#added + up(ADDED.length * batch);
    this.#alibi = this.#sequences + up(SEQUENCE.length * batch);
    this.image = new Int32Array(this.#alibi + up(op.alibi ? heads : 0));
    if (op.alibi)
      new Float32Array(this.image.buffer).set(
        op.alibi.map((slope) => slope * Math.LOG2E),
        this.#alibi,
      );
    const sizes = { kvHeads, headSize, valueSize };
    if (op.k && op.v) this.#toAppend({ ...sizes, ...strides('k', op.k), ...strides('v', op.v) });
    this.#toAttend({
      ...sizes,
      ...strides('q', op.q),
      ...strides('out', op.out),
      rows,
      tileRows: tiling.rows,
      tiles: Math.ceil(rows / tiling.rows),
      groups: heads / kvHeads,
      tileHeads: tiling.heads,
      headTiles: Math.ceil(heads / kvHeads / tiling.heads),
      scale: bitsOf(softcap === undefined ? scale * Math.LOG2E : scale / softcap),
      softcap: softcap === undefined ? 0 : bitsOf(softcap * Math.LOG2E),
      window: window ?? 0,
    });
  }

  /** Writes where everything is, for caches of a shape: needed again when scratch moves or has to hold more. */
  settle(shape: ResolvedKvShape, places: RunPlaces, task: TaskScratch): void {
    const [first, later] = [pageLayout(shape, 0), pageLayout(shape, 1)];
    const pages = { firstV: first.v, firstVs: first.vs, firstKc: first.kc, ks: later.ks, vs: later.vs };
    this.#toAppend({
      ...pages,
      firstIc: first.ic,
      v0: later.v,
      findsFactors: shape.factors === undefined ? 1 : 0,
      rotarySize: shape.rotarySize,
      isInterleaved: shape.isInterleaved ? 1 : 0,
      sequences: places.image + 4 * this.#added,
      scratch: places.row,
      scratchStride: 2 * places.integersInRow,
      atIntegers: places.integersInRow,
    });
    this.#toAttend({
      ...pages,
      v: later.v,
      sequences: places.image + 4 * this.#sequences,
      alibi: this.#op.alibi ? places.image + 4 * this.#alibi : 0,
      scratch: places.tasks,
      scratchStride: task.byteLength,
      atSpare: task.atSpare,
      atPanel: task.atPanel,
      atX: task.atX,
      atQ: task.atQ,
      atWeights: task.atWeights,
      atP: task.atP,
      atBlocks: task.atBlocks,
      atFirst: task.atFirst,
      atY: task.atY,
      atScores: task.atScores,
    });
  }

  /** Where operands are. Makes no objects, and neither does {@link run}. */
  place(addresses: readonly number[]): void {
    const { image } = this;
    image[TO_APPEND.k] = addresses[K];
    image[TO_APPEND.v] = addresses[V];
    image[TO_ATTEND.q] = addresses[Q];
    image[TO_ATTEND.sinks] = addresses[SINKS];
    image[TO_ATTEND.out] = addresses[OUT_OPERAND];
  }

  /** Dimensions of bias and mask: the op's operands, or what the run brings. */
  scores(run: Run, addresses: readonly number[], places: RunPlaces): void {
    const op = this.#op;
    const [bias, mask] = [run.bias?.dims ?? op.bias, run.mask?.dims ?? op.mask];
    this.#toAttend({
      ...scoreWords('bias', run.bias ? places.bias : addresses[BIAS], bias, 4),
      ...scoreWords('mask', run.mask ? places.mask : addresses[MASK], mask, 1),
      mayHide: bias || mask ? 1 : 0,
    });
  }

  /** Writes what is new in every run: the cache's pages, and the length of each sequence. */
  run({ cache, isCausal, past, counts, queries, positions, starts }: Run): void {
    const { image } = this;
    const { table, capacity } = cache;
    image[TO_APPEND.table] = image[TO_ATTEND.table] = table ? table.ptr : 0;
    image[TO_APPEND.tableRow] = image[TO_ATTEND.tableRow] = 4 * capacity;
    image[TO_ATTEND.isCausal] = isCausal ? 1 : 0;
    let added = this.#added;
    let at = this.#sequences;
    for (let b = 0; b < past.length; b++) {
      image[added++] = past[b];
      image[added++] = counts[b];
      image[at++] = positions[b];
      image[at++] = cache.lengthOf(b);
      image[at++] = starts[b];
      image[at++] = queries[b];
    }
  }

  #toAppend(words: Named<(typeof APPEND)[number]>): void {
    setNamed(this.image, TO_APPEND, words);
  }

  #toAttend(words: Named<(typeof WORK)[number]>): void {
    setNamed(this.image, TO_ATTEND, words);
  }
}

function setNamed<N extends string>(image: Int32Array, index: Readonly<Record<N, number>>, words: Named<N>): void {
  for (const name of Object.keys(words) as N[]) image[index[name]] = words[name]!;
}

const bitsOf = (value: number): number => new Int32Array(Float32Array.of(value).buffer)[0];

const strides = <N extends string>(name: N, { batch, row, head }: HeadStrides) =>
  ({ [`${name}Batch`]: 4 * batch, [`${name}Row`]: 4 * row, [`${name}Head`]: 4 * head }) as Record<
    `${N}Batch` | `${N}Row` | `${N}Head`,
    number
  >;

function scoreWords<N extends string>(name: N, at: number, dims: ScoreDims | undefined, bytes: number) {
  const [batch, heads, rows, keys] = dims ?? [1, 1, 1, 1];
  const step = (size: number, stride: number) => (size > 1 ? bytes * stride : 0);
  return {
    [name]: dims ? at : 0,
    [`${name}Batch`]: step(batch, heads * rows * keys),
    [`${name}Head`]: step(heads, rows * keys),
    [`${name}Row`]: step(rows, keys),
    [`${name}Key`]: step(keys, 1),
  } as Record<N | `${N}Batch` | `${N}Head` | `${N}Row` | `${N}Key`, number>;
}
