/** Queries of a task: which keys each may see, and its integers for keys that are stored as such. */
import { overLanes } from '../decompose/integers.wasm.ts';
import { type Func, f32, f32x4, type I32, i32, i32x4, type Local, v128 } from '../wasm/emitter.ts';
import { advance } from '../wasm/loops.ts';
import { LOWEST, PAGE_KEYS } from './contract.ts';
import { type IntegerReader, rowScale } from './integers.wasm.ts';
import { eachElement, ROW } from './rows.wasm.ts';
import { SIXTEEN, type Task } from './task.wasm.ts';

const PAGE_BITS = Math.log2(PAGE_KEYS);

/** @param reader absent: keys are floats */
export function takeQueries(f: Func, task: Task, reader: IntegerReader | undefined): void {
  const { word, sequence, batch, firstHead, heads, first, queries, headSize } = task;
  const lowest = f.let(f32x4.const(LOWEST));
  const sinks = f.let(word('sinks'));
  const from = f.let(i32.const(-1));
  const to = task.end;
  to.set(i32.const(0));
  task.seenFrom.set(i32.const(0));
  task.seenTo.set(i32.const(-1));
  const position = f.let(i32.add(sequence('position'), first));
  const index = f.let(first);
  const q = f.let(
    i32.add(
      i32.add(word('q'), i32.mul(batch, word('qBatch'))),
      i32.add(i32.mul(first, word('qRow')), i32.mul(firstHead, word('qHead'))),
    ),
  );
  const at = { row: f.let(task.rows.at), x: f.let(task.x.at), q: f.let(task.q.at) };
  // Factors are there once page 0 is full, and nobody needs them before.
  const hasIntegers = f.let(i32.gtU(sequence('total'), PAGE_KEYS));
  const factors = f.let(i32.add(i32.load(task.table), word('firstKc')));
  f.repeat(queries, () => {
    const { begin, end } = seen(position, index);
    f.when(i32.ltU(begin, end), () => {
      from.set(i32.minU(from, begin));
      to.set(i32.maxU(to, end));
    });
    task.seenFrom.set(i32.maxU(task.seenFrom, begin));
    task.seenTo.set(i32.minU(task.seenTo, end));
    const one = f.let(q);
    const sink = f.let(i32.select(sinks, i32.add(sinks, i32.shl(firstHead, 2)), 0));
    f.repeat(heads, () => {
      f.storeI32(at.row, begin, ROW.begin);
      f.storeI32(at.row, end, ROW.end);
      f.storeI32(at.row, position, ROW.position);
      f.storeI32(at.row, i32.const(0), ROW.sum);
      f.storeV128(at.row, lowest, ROW.most);
      f.when(sink, () => {
        // Padding stays zeros, whatever the sink is.
        const own = i32.select(i32.ltU(index, sequence('count')), i32.load(sink), 0);
        const score = f.let(f32x4.mul(i32x4.splat(own), f32x4.const(Math.LOG2E)));
        f.storeLane32(at.row, score, 0, ROW.sink);
        f.storeV128(at.row, f32x4.pmax(lowest, score), ROW.most);
        advance(sink, 4);
      });
      copy(one);
      if (reader) f.when(hasIntegers, () => decompose(reader));
      advance(one, word('qHead'));
      advance(at.row, task.rows.stride);
      advance(at.x, task.x.stride);
      advance(at.q, task.q.stride);
    });
    advance(q, word('qRow'));
    advance(position, 1);
    advance(index, 1);
  });
  f.when(
    to,
    () => {
      task.firstPage.set(i32.shrU(from, PAGE_BITS));
      task.pages.set(i32.sub(i32.shrU(i32.add(to, PAGE_KEYS - 1), PAGE_BITS), task.firstPage));
    },
    () => {
      task.firstPage.set(i32.const(0));
      task.pages.set(i32.const(0));
    },
  );

  /** Keys [begin, end) that a query may see; none beyond those that count. */
  function seen(position: Local<'i32'>, index: I32) {
    const end = f.let(sequence('total'));
    const next = f.let(i32.add(position, 1));
    f.when(word('isCausal'), () => end.set(i32.minU(end, next)));
    end.set(i32.select(i32.ltU(index, sequence('count')), end, 0));
    const begin = f.let(sequence('start'));
    const window = f.let(word('window'));
    f.when(i32.and(i32.gtU(window, 0), i32.gtU(next, window)), () => {
      const least = f.let(i32.sub(next, window));
      begin.set(i32.maxU(begin, least));
    });
    return { begin, end };
  }

  /** at.x = the query, with zeros to the next 16. */
  function copy(query: I32) {
    const [read, write] = [f.let(query), f.let(at.x)];
    eachElement(
      f,
      word('headSize'),
      [read, write],
      () => f.storeV128(write, v128.load(read)),
      () => f.storeF32(write, f32.load(read)),
    );
    f.repeat(i32.shrU(i32.sub(i32.add(at.x, task.x.stride), write), 2), () => {
      f.storeI32(write, i32.const(0));
      advance(write, 4);
    });
  }

  /** Multiplies by the factors of K and makes integers. In between, the products lie in the next row's place. */
  function decompose(reader: IntegerReader) {
    const scaled = f.let(i32.add(at.x, task.x.stride));
    const [read, write, factor] = [f.let(at.x), f.let(scaled), f.let(factors)];
    const absolute = f.let(i32x4.splat(i32.const(0x7fffffff)));
    const most = f.let(v128.const16(0));
    f.repeat(i32.shrU(headSize, 2), () => {
      const x = f.let(f32x4.mul(v128.load(read), v128.load(factor)));
      most.set(i32x4.maxU(most, v128.and(x, absolute)));
      f.storeV128(write, x);
      for (const pointer of [read, write, factor]) advance(pointer, 16);
    });
    f.repeat(i32.shrU(i32.sub(i32.add(scaled, task.x.stride), write), 2), () => {
      f.storeI32(write, i32.const(0));
      advance(write, 4);
    });
    const largest = f.let(overLanes(f, i32x4.maxU, most));
    const sixteens = i32.shrU(i32.add(headSize, SIXTEEN - 1), Math.log2(SIXTEEN));
    const { S, inverse } = rowScale(f, largest);
    const sum = reader.decompose({ from: scaled, to: at.q, sixteens, inverse: f.let(f32x4.splat(inverse)) });
    f.storeF32(at.row, f32.mul(S, f32.reinterpretI32(word('scale'))), ROW.scale);
    if (sum) f.storeI32(at.row, sum, ROW.querySum);
  }
}
