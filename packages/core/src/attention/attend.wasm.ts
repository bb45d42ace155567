/**
 * attend_<type>: queries against the pages of a cache. WebAssembly SIMD128.
 *
 * work     words of work.ts
 * first    tasks [first, first + count): a tile of queries of one sequence and KV head, tiles fastest
 * thread   which one: each has scratch of its own
 *
 * A task goes through its pages twice: first for all scores, since their exact maximum has to be known, then for
 * weights and values, page by page. Pages that no row of the tile may see are skipped: their keys would add zeros.
 * (docs/attention.md)
 */
import { int8 } from '../formats/int8.ts';
import { type CarrierOptions, carrierOf, I16 } from '../gemm/carriers.ts';
import { type Unroll, unrolls } from '../gemm/registry.ts';
import { i32Params, type KernelSpec } from '../kernel-spec.ts';
import { type Func, f32x4, type I32, i32, type Local } from '../wasm/emitter.ts';
import { advance } from '../wasm/loops.ts';
import { type KvType, kvTypes, PAGE_KEYS } from './contract.ts';
import { type IntegerReader, integerReader, PER_CHANNEL, type Vectors } from './integers.wasm.ts';
import { LINE } from './page.ts';
import { takeQueries } from './queries.wasm.ts';
import { BLOCK, type Column, eachRow, hidesKeys, hidesSome, ROW_BYTES, seenPanels } from './rows.wasm.ts';
import { changesScores, floatScores, integerScores, type PagePlace, scoreForms } from './scores.wasm.ts';
import { BLOCKS, openTask, SIXTEEN, type Task } from './task.wasm.ts';
import { fillAttendTrial } from './trial.ts';
import { addFloatValues, addIntegerValues, clearSums, writeOut } from './values.wasm.ts';
import {
  addSinks,
  decomposeWeights,
  fill,
  hiddenSigns,
  seenScales,
  settleLargest,
  spoils,
  weigher,
} from './weights.wasm.ts';

export interface AttendOptions {
  readonly type: KvType;
  /** Of int8; default i16. */
  readonly carrier?: CarrierOptions | undefined;
  /** Steps per turn of tiles: 2 where the engine runs that well (Routes.unroll). Default 1. */
  readonly unroll?: Unroll | undefined;
}

const READING = { widen: false, apart: false };
const ARGS = ['work', 'first', 'count', 'thread'] as const;

export const attendSpec: KernelSpec<AttendOptions, (typeof ARGS)[number]> = {
  family: 'attend',
  args: ARGS,
  id({ type, carrier = I16, unroll = 1 }) {
    const by = carrier.id === 'i16' ? '' : `_${carrierOf(carrier, int8, PER_CHANNEL, READING).name}`;
    return `attend_${type}${by}${unroll > 1 ? `_u${unroll}` : ''}`;
  },
  emit(module, options) {
    const { type, carrier, unroll = 1 } = options;
    module.func(attendSpec.id(options), i32Params(ARGS), (f, p) => {
      const reader = type === 'float' ? undefined : integerReader(f, { type, carrier, unroll });
      f.repeat(p.count, () => {
        const task = openTask(f, p.work, p.first, p.thread, reader?.bytes ?? 0);
        takeQueries(f, task, reader);
        clearSums(f, task);
        const ahead = reader && whatIsAhead(f, task);
        scores(f, task, { reader, unroll }, ahead?.scores);
        eachRow(f, task.count, { row: task.rows }, ({ row }) => settleLargest(f, row));
        if (reader) integerValues(f, task, reader, addIntegerValues, ahead?.output);
        else floatValues(f, task, unroll);
        addSinks(f, task);
        writeOut(f, task);
        advance(p.first, 1);
      });
    });
  },
  trial: (_, at) => ({ work: at, first: 0, count: 1, thread: 0 }),
  fill: fillAttendTrial,
};

/** What ships: tests and benchmarks loop over it. */
export function* attendVariants(): Generator<AttendOptions> {
  for (const unroll of unrolls) {
    for (const type of kvTypes) yield { type, unroll };
    for (const operand of ['unsigned', 'signed'] as const)
      yield { type: 'int8', carrier: { id: 'i8', digits: 2, operand }, unroll };
  }
}

/** Where a walk through the pages of a task is. */
export type Walk = Pick<PagePlace, 'at' | 'first' | 'scores'>;

const walkOf = (f: Func, task: Task): Walk => ({
  at: f.let(i32.add(task.table, i32.shl(task.firstPage, 2))),
  first: f.let(i32.mul(task.firstPage, PAGE_KEYS)),
  scores: f.let(task.scores.at),
});

/**
 * Pages that a task sees, in order.
 *
 * @param walk where to begin, moved past them; default: the first one
 * @param pages how many; default: all
 */
export function eachPage(
  f: Func,
  task: Task,
  body: (place: PagePlace) => void,
  { at, first, scores }: Walk = walkOf(f, task),
  pages: I32 = task.pages,
): void {
  const scoreBytes = f.let(i32.mul(task.count, task.scores.stride));
  f.repeat(pages, () => {
    const keys = f.let(i32.sub(task.end, first));
    keys.set(i32.minU(keys, PAGE_KEYS));
    body({ at: f.let(i32.load(at)), entry: at, first, keys, scores });
    advance(at, 4);
    advance(first, PAGE_KEYS);
    advance(scores, scoreBytes);
  });
}

/** So many pages gain nothing from it. */
const FEW_PAGES = 4;
/** So many bytes are no longer in a core's own cache when the second way comes to them. */
const MANY_BYTES = 2 ** 21;

/** What of the next page each way reads ahead. */
interface Ahead {
  readonly scores: Stretch;
  readonly output: Stretch;
}

/** Bytes [from, to) of a page; none if they are equal. */
interface Stretch {
  readonly from: Local<'i32'>;
  readonly to: Local<'i32'>;
}

/** All of it before the scores; keys and values each in their turn, where the values would have to be read once more. */
function whatIsAhead(f: Func, { word, pages }: Task): Ahead {
  const [k, v] = [f.let(i32.const(0)), f.let(word('v'))];
  const end = f.let(i32.select(i32.gtU(pages, FEW_PAGES), word('ks'), k));
  const isMany = f.let(i32.geU(i32.mul(pages, i32.add(word('vs'), 4 * PAGE_KEYS)), MANY_BYTES));
  return {
    scores: { from: k, to: f.let(i32.select(isMany, v, end)) },
    output: { from: v, to: f.let(i32.select(isMany, end, v)) },
  };
}

/**
 * Reads a word of each line of the next page, so that memory is at work while this one is. Prefetchers begin anew in each page: without it products wait for
 * the first lines of its keys, and of its values. It is one load in a loop, because they follow its stride.
 */
function readAhead(f: Func, { end }: Task, { entry, first }: PagePlace, { from, to }: Stretch): void {
  f.when(i32.ltU(i32.add(first, PAGE_KEYS), end), () => {
    const line = f.let(i32.add(i32.load(entry, 4), from));
    f.repeat(i32.shrU(i32.sub(to, from), Math.log2(LINE)), () => {
      f.let(i32.load(line));
      advance(line, LINE);
    });
  });
}

/** How products are made; without a reader keys and values are floats. */
interface Products {
  readonly reader: IntegerReader | undefined;
  readonly unroll: Unroll;
}

function scores(f: Func, task: Task, { reader, unroll }: Products, ahead?: Stretch): void {
  const forms = scoreForms(f, task);
  const changes = f.let(changesScores(task));
  eachPage(f, task, (place) => {
    if (ahead) readAhead(f, task, place, ahead);
    const isPlain = f.let(i32.eqz(i32.or(changes, hidesSome(task, place.first))));
    pageScores(f, task, place, { reader, unroll, isPlain });
    f.when(i32.eqz(isPlain), () => forms(place));
  });
}

/** Scores of a page. @param isPlain not 0: they are what counts, and their maxima are those of the rows */
export function pageScores(
  f: Func,
  task: Task,
  page: PagePlace,
  { reader, unroll, isPlain }: Products & { readonly isPlain: I32 },
): void {
  // Maxima that don't count all go to one place.
  const at = f.let(i32.select(isPlain, task.rows.at, task.spare));
  const place = { ...page, most: { at, stride: f.let(i32.select(isPlain, ROW_BYTES, 0)) } };
  if (reader)
    f.when(
      place.first,
      () => integerScores(f, task, reader, place),
      () => floatScores(f, task, place, unroll),
    );
  else floatScores(f, task, place, unroll);
}

/** Of the first page, or of all others. */
const inPage = (f: Func, { word }: Task, page: I32, first: I32, name: 'v' | 'vs'): Local<'i32'> =>
  f.let(i32.add(page, i32.select(first, word(name), word(name === 'v' ? 'firstV' : 'firstVs'))));

const sixteensOf = (f: Func, keys: I32): Local<'i32'> =>
  f.let(i32.shrU(i32.add(keys, SIXTEEN - 1), Math.log2(SIXTEEN)));

/** Sixteen of them. */
const FLOATS: Vectors = { offsets: [0, 16, 32, 48], step: 4 * SIXTEEN };

function floatValues(f: Func, task: Task, unroll: Unroll): void {
  const { word, spare } = task;
  const weights = weigher(f);
  eachPage(f, task, ({ at: page, first, keys, scores }) => {
    const columns = { row: task.rows, weight: task.weights, score: { ...task.scores, at: scores } };
    const v = inPage(f, task, page, first, 'v');
    const sixteens = sixteensOf(f, keys);
    const hides = f.let(word('mayHide'));
    eachRow(f, task.count, columns, ({ row, score, weight }) => {
      hides.set(i32.or(hides, hidesKeys(row, first)));
      f.when(
        hides,
        () => {
          const own = seenPanels(f, row, { first, keys });
          hiddenSigns(f, { scores: score, sixteens: own, to: spare });
          weights.page(row, { scores: score, weights: weight, sixteens: own, signs: spare });
          fill(f, weight, { own, behind: i32.sub(sixteens, own), vectors: FLOATS, value: f32x4.const(-0) });
        },
        () => weights.page(row, { scores: score, weights: weight, sixteens }),
      );
    });
    f.when(
      hides,
      () => addFloatValues(f, task, v, { keys, unroll, hides: true }),
      () => addFloatValues(f, task, v, { keys, unroll, hides: false }),
    );
  });
}

/**
 * A few rows take several pages in one go: what follows on the scale of one is done while the next ones are weighed. A CPU would
 * not get there by itself, since all that waits for the scale fills its queue.
 */
export function integerValues(
  f: Func,
  task: Task,
  reader: IntegerReader,
  add = addIntegerValues,
  ahead?: Stretch,
): void {
  const { word, spare, count, p, blocks } = task;
  const weights = weigher(f);
  const walk = walkOf(f, task);
  const alone = {
    p: f.let(i32.add(spare, 4 * PAGE_KEYS)),
    stride: i32.const(0),
    block: task.firstBlocks.at,
    keys: i32.const(1),
  };
  const sumAlone = reader.writeAlone(alone.p);
  const together = f.let(i32.minU(count, BLOCKS));
  together.set(i32.shrU(BLOCKS, i32.sub(together, 1)));
  together.set(i32.maxU(together, 1));
  /** Columns of the next page's blocks. */
  const next = (columns: Readonly<Record<string, ReturnType<typeof copyOf>>>) => {
    for (const { at, stride } of Object.values(columns)) advance(at, i32.mul(count, stride));
  };
  const left = f.let(task.pages);
  f.loopWhile(
    () => left,
    () => {
      const pages = f.let(i32.minU(left, together));
      const own = { weight: copyOf(f, task.weights), block: copyOf(f, blocks) };
      const again = { at: f.let(walk.at), first: f.let(walk.first), scores: f.let(walk.scores) };
      eachPage(
        f,
        task,
        (place) => {
          const { at: page, first, keys, scores } = place;
          if (ahead) readAhead(f, task, place, ahead);
          const all = inPage(f, task, page, first, 'vs');
          const sixteens = sixteensOf(f, keys);
          const hides = f.let(i32.or(word('mayHide'), hidesSome(task, first)));
          const lanes = f.let(weights.lanes);
          f.when(i32.eqz(first), () => lanes.set(weights.others));
          const isSpoilt = f.let(i32.const(0));
          f.when(hides, () => isSpoilt.set(spoils(f, all, sixteens)));
          const columns = { row: task.rows, score: { ...task.scores, at: scores }, ...own };
          eachRow(f, count, columns, ({ row, block, score, weight }) => {
            const [scales, seen] = [f.let(all), f.let(sixteens)];
            f.when(hides, () => {
              seen.set(seenPanels(f, row, { first, keys }));
              f.when(isSpoilt, () => {
                seenScales(f, { scores: score, sixteens: seen, to: spare }, all);
                scales.set(spare);
              });
            });
            f.storeI16(block, seen, BLOCK.own);
            f.storeI16(block, i32.sub(sixteens, seen), BLOCK.behind);
            const integers = { scales, block, lanes };
            weights.page(row, { scores: score, weights: weight, sixteens: seen, integers });
            f.when(i32.eqz(first), () => {
              const lone = f.let(i32.add(block, i32.sub(task.firstBlocks.at, blocks.at)));
              weights.takeFirst(weight, lone);
              if (sumAlone) f.storeI32(lone, sumAlone, BLOCK.sum);
            });
          });
          next(own);
        },
        again,
        pages,
      );
      eachRow(f, i32.mul(count, pages), { weight: task.weights, p, block: blocks }, ({ block, p, weight }) =>
        decomposeWeights(f, reader, block, { from: weight, to: p }),
      );
      const from = { p: copyOf(f, p), block: copyOf(f, blocks) };
      eachPage(
        f,
        task,
        ({ at: page, first, keys }) => {
          // The first key before all others, by the same code.
          const own = { p: from.p.at, stride: i32.const(PAGE_KEYS * reader.bytes), block: from.block.at, keys };
          const now = onEach(own, (word, name) => f.let(i32.select(first, word, alone[name])));
          f.repeat(f.let(i32.select(first, 1, 2)), () => {
            const p = { at: now.p, stride: now.stride };
            const block = { at: now.block, stride: blocks.stride };
            add(f, { ...task, p, blocks: block }, reader, inPage(f, task, page, first, 'v'), now.keys);
            onEach(own, (word, name) => now[name].set(word));
          });
          next(from);
        },
        walk,
        pages,
      );
      left.set(i32.sub(left, pages));
    },
  );
}

const onEach = <K extends string, T>(words: Readonly<Record<K, I32>>, to: (word: I32, name: K) => T): Record<K, T> =>
  Object.fromEntries(Object.entries<I32>(words).map(([name, word]) => [name, to(word, name as K)])) as Record<K, T>;
const copyOf = (f: Func, { at, stride }: Column) => ({ at: f.let(at), stride });
