/**
 * attend_<type>: queries against the pages of a cache. WebAssembly SIMD128.
 *
 * work     words of work.ts
 * first    tasks [first, first + count): a tile of queries of one sequence and KV head, tiles fastest
 * thread   which one: each has scratch of its own
 *
 * A task goes through its pages twice: all scores first, since their exact maximum has to be known, then weights and values of a
 * page in one go. Pages that no row of the tile may see are left out: their keys would add zeros.          (docs/attention.md)
 */
import { int8 } from '../formats/int8.ts';
import { type CarrierOptions, carrierOf, I16 } from '../gemm/carriers.ts';
import { type Unroll, unrolls } from '../gemm/registry.ts';
import { i32Params, type KernelSpec } from '../kernel-spec.ts';
import { type Func, type I32, i32 } from '../wasm/emitter.ts';
import { advance } from '../wasm/loops.ts';
import { type KvType, kvTypes, PAGE_KEYS } from './contract.ts';
import { type IntegerReader, integerReader, PER_CHANNEL } from './integers.wasm.ts';
import { LINE } from './page.ts';
import { takeQueries } from './queries.wasm.ts';
import { eachRow, hidesKeys } from './rows.wasm.ts';
import { floatScores, integerScores, type KeyPage, scoreForms } from './scores.wasm.ts';
import { openTask, SIXTEEN, type Task } from './task.wasm.ts';
import { fillAttendTrial } from './trial.ts';
import { addFloatValues, addIntegerValues, clearSums, writeOut } from './values.wasm.ts';
import {
  addSinks,
  decomposeWeights,
  firstIntegers,
  hiddenSigns,
  scaleOthers,
  seenScales,
  settleLargest,
  takeFirst,
  weigh,
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
        scores(f, task, { reader, unroll });
        eachRow(f, task.count, { row: task.rows }, ({ row }) => settleLargest(f, row));
        values(f, task, { reader, unroll });
        addSinks(f, task);
        writeOut(f, task);
        advance(p.first, 1);
      });
    });
  },
  trial: (_, at) => ({ work: at, first: 0, count: 1, thread: 0 }),
  fill: fillAttendTrial,
  *variants() {
    for (const unroll of unrolls) {
      for (const type of kvTypes) yield { type, unroll };
      for (const operand of ['unsigned', 'signed'] as const)
        yield { type: 'int8', carrier: { id: 'i8', digits: 2, operand }, unroll };
    }
  },
};

/** Pages that a task sees, in order. */
export function eachPage(f: Func, task: Task, body: (place: KeyPage) => void): void {
  const at = f.let(i32.add(task.table, i32.shl(task.firstPage, 2)));
  const first = f.let(i32.mul(task.firstPage, PAGE_KEYS));
  const scores = f.let(task.scores.at);
  const scoreBytes = f.let(i32.mul(task.count, task.scores.stride));
  f.repeat(task.pages, () => {
    const keys = f.let(i32.sub(task.end, first));
    keys.set(i32.minU(keys, PAGE_KEYS));
    body({ at: f.let(i32.load(at)), first, keys, scores });
    advance(at, 4);
    advance(first, PAGE_KEYS);
    advance(scores, scoreBytes);
  });
}

/** So many pages gain nothing from it, and lose a tenth where they lie in a cache. */
const FEW_PAGES = 4;

/**
 * Reads a word of each line of the page's values. They lie right behind its keys: memory gives a page in one go in less time than two
 * halves on two ways through all pages, and the second way finds them in a cache. One load in a loop: prefetchers follow its stride.
 * Unrolled, or of every other line, it gains nothing.
 */
function fetchValues(f: Func, { word, pages }: Task, page: I32): void {
  f.when(i32.gtU(pages, FEW_PAGES), () => {
    const line = f.let(i32.add(page, word('v')));
    f.repeat(i32.shrU(i32.sub(word('ks'), word('v')), Math.log2(LINE)), () => {
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

function scores(f: Func, task: Task, { reader, unroll }: Products): void {
  const forms = scoreForms(f, task);
  eachPage(f, task, (place) => {
    if (reader)
      f.when(
        place.first,
        () => integerScores(f, task, reader, place),
        () => floatScores(f, task, place, unroll),
      );
    else floatScores(f, task, place, unroll);
    if (reader) fetchValues(f, task, place.at);
    forms(place);
  });
}

function values(f: Func, task: Task, { reader, unroll }: Products): void {
  const { word, spare } = task;
  const weights = weigh(f);
  /** Of the first page, or of all others. */
  const inPage = (page: I32, first: I32, name: 'v' | 'vs') =>
    f.let(i32.add(page, i32.select(first, word(name), word(name === 'v' ? 'firstV' : 'firstVs'))));
  eachPage(f, task, ({ at: page, first, keys, scores }) => {
    const columns = { row: task.rows, p: task.p, weight: task.weights, score: { ...task.scores, at: scores } };
    const v = inPage(page, first, 'v');
    const sixteens = f.let(i32.shrU(i32.add(keys, SIXTEEN - 1), Math.log2(SIXTEEN)));
    if (!reader) {
      const hides = f.let(word('mayHide'));
      eachRow(f, task.count, columns, ({ row, score, weight }) => {
        hides.set(i32.or(hides, hidesKeys(row, first)));
        f.when(
          hides,
          () => {
            hiddenSigns(f, score, spare);
            weights(row, { scores: score, weights: weight, sixteens, signs: spare });
          },
          () => weights(row, { scores: score, weights: weight, sixteens }),
        );
      });
      f.when(
        hides,
        () => addFloatValues(f, task, v, { keys, unroll, hides: true }),
        () => addFloatValues(f, task, v, { keys, unroll, hides: false }),
      );
      return;
    }
    const all = inPage(page, first, 'vs');
    eachRow(f, task.count, columns, ({ row, score, weight }) => {
      const scales = f.let(all);
      f.when(i32.or(word('mayHide'), hidesKeys(row, first)), () => {
        seenScales(f, score, all, spare);
        scales.set(spare);
      });
      weights(row, { scores: score, weights: weight, sixteens, scales });
    });
    f.when(i32.eqz(first), () => {
      const { at: to } = task.p;
      const sum = firstIntegers(f, reader, { alone: spare, to });
      eachRow(f, task.count, columns, ({ row, weight }) => takeFirst(f, row, weight, sum));
      addIntegerValues(f, { ...task, p: { at: to, stride: 0 } }, reader, v, i32.const(1));
      eachRow(f, task.count, columns, ({ row, weight }) => scaleOthers(f, row, { weights: weight, sixteens }));
    });
    eachRow(f, task.count, columns, ({ row, p, weight }) =>
      decomposeWeights(f, reader, row, { from: weight, to: p, sixteens }),
    );
    addIntegerValues(f, task, reader, v, keys);
  });
}
