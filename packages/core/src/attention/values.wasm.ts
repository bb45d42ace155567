/** Weights times the values of a page, added to the sums of a task's rows; and how the sums become the output. */
import type { Unroll } from '../gemm/registry.ts';
import { type Func, f32, f32x4, type I32, i32, i32x4, type Local, v128 } from '../wasm/emitter.ts';
import { advance } from '../wasm/loops.ts';
import { PAGE_KEYS } from './contract.ts';
import { FLOAT_TILES, floatProducts } from './floats.wasm.ts';
import { type IntegerReader, type PanelReader, withPanels } from './integers.wasm.ts';
import { PANEL } from './page.ts';
import { BLOCK, BLOCK_BYTES, eachElement, eachOf, eachTile, ROW, ROW_BYTES } from './rows.wasm.ts';
import type { Task } from './task.wasm.ts';

/** y = fl(y + fl(f(Σ pi v) S)). @param keys of the page, from the first one on, that may weigh something */
export const addIntegerValues = (f: Func, task: Task, reader: IntegerReader, values: I32, keys: I32): void =>
  withPanels(f, reader, task.count, (panels) =>
    addPanels(f, task, panels, { values, keys, panelBytes: (PAGE_KEYS / reader.stepK) * 4 * PANEL }),
  );

function addPanels(
  f: Func,
  task: Task,
  reader: PanelReader,
  { values, keys, panelBytes }: { values: I32; keys: I32; panelBytes: number },
): void {
  const along = f.let(i32.and(i32.add(keys, 3), -4));
  const steps = f.let(i32.shrU(along, Math.log2(reader.stepK)));
  const panel = f.let(values);
  const to = f.let(task.y.at);
  f.repeat(i32.shrU(task.valueSize, Math.log2(PANEL)), () => {
    const own = f.let(reader.open(panel, along, task.panel));
    const columns = { p: task.p, y: { ...task.y, at: to }, block: task.blocks };
    eachTile(f, task.count, reader.tiles, columns, (size, { p, y, block }) => {
      for (let first = 0; first < PANEL / 4; first += size.vectors) {
        const x = eachOf(f, size.rows, p, task.p);
        const sums = x.map((_, i) => i32.load(block, BLOCK.sum + BLOCK_BYTES * i));
        const panel = f.let(own);
        const products = reader.products(size, { x, apart: reader.digitBytes, panel, first, steps, sums });
        const rows = eachOf(f, size.rows, y, task.y);
        products.forEach((groups, i) => {
          const scale = f.let(v128.load32Splat(block, BLOCK.scale + BLOCK_BYTES * i));
          groups.forEach((value, g) => {
            const at = 16 * (first + g);
            f.storeV128(rows[i], f32x4.add(v128.load(rows[i], at), f32x4.mul(value, scale)), at);
          });
        });
      }
    });
    advance(panel, panelBytes);
    advance(to, 4 * PANEL);
  });
}

export interface FloatWeights {
  /** Of the page, from the first one on, that may weigh something. */
  readonly keys: I32;
  readonly unroll: Unroll;
  /** −0 marks keys that add nothing, whatever their value is. */
  readonly hides: boolean;
}

/** u = Σ w v of the page in one chain, y = fl(y + u). */
export function addFloatValues(f: Func, task: Task, values: I32, page: FloatWeights): void {
  const { keys, unroll, hides } = page;
  const unread = f.let(i32.shl(i32.sub(PAGE_KEYS, keys), 6));
  const mark = hides && f.let(f32x4.const(-0));
  const columns = { w: task.weights, y: task.y };
  eachTile(f, task.count, FLOAT_TILES, columns, ({ rows }, { w, y }) => {
    const [panel, to] = [f.let(values), f.let(y)];
    f.repeat(i32.shrU(task.valueSize, Math.log2(PANEL)), () => {
      const x = eachOf(f, rows, w, task.weights);
      const sums = floatProducts(f, {
        x,
        panels: [panel],
        steps: keys,
        unroll,
        start: 'zero',
        hidden: mark ? (w) => i32x4.eq(w, mark) : undefined,
      });
      const targets = eachOf(f, rows, to, task.y);
      sums.forEach((groups, i) => {
        groups.forEach((sum, g) => {
          f.storeV128(targets[i], f32x4.add(v128.load(targets[i], 16 * g), sum), 16 * g);
        });
      });
      advance(panel, unread);
      advance(to, 4 * PANEL);
    });
  });
}

/** y = 0 */
export function clearSums(f: Func, task: Task): void {
  const at = f.let(task.y.at);
  f.repeat(i32.shrU(i32.mul(task.count, task.y.stride), 4), () => {
    f.storeV128(at, v128.const16(0));
    advance(at, 16);
  });
}

/** out = fl(y · fl(1/l)); 0 where no key was seen. */
export function writeOut(f: Func, task: Task): void {
  const { word, batch, firstHead, heads, first } = task;
  const out = f.let(
    i32.add(
      i32.add(word('out'), i32.mul(batch, word('outBatch'))),
      i32.add(i32.mul(first, word('outRow')), i32.mul(firstHead, word('outHead'))),
    ),
  );
  const [row, y] = [f.let(task.rows.at), f.let(task.y.at)];
  f.repeat(task.queries, () => {
    const to = f.let(out);
    f.repeat(heads, () => {
      const sum = f.let(f32.load(row, ROW.sum));
      const inverse = f.let(f32.select(i32.reinterpretF32(sum), f32.div(f32.const(1), sum), f32.const(0)));
      scaleRow(f, y, to, word('valueSize'), inverse);
      advance(row, ROW_BYTES);
      advance(y, task.y.stride);
      advance(to, word('outHead'));
    });
    advance(out, word('outRow'));
  });
}

function scaleRow(f: Func, from: I32, to: I32, count: I32, factor: Local<'f32'>): void {
  const [read, write] = [f.let(from), f.let(to)];
  const factors = f.let(f32x4.splat(factor));
  eachElement(
    f,
    count,
    [read, write],
    () => f.storeV128(write, f32x4.mul(v128.load(read), factors)),
    () => f.storeF32(write, f32.mul(f32.load(read), factor)),
  );
}
