/** Scores of a page in log2 units: queries times keys, what is added to them, and what is hidden. */
import { laneCode, wasmLanes } from '../activations/activations.wasm.ts';
import { activate } from '../activations/contract.ts';
import type { Unroll } from '../gemm/registry.ts';
import { LANE_NUMBERS } from '../nn/rows.wasm.ts';
import { type Func, f32x4, type I32, i32, i32x4, type Local, type V128, v128 } from '../wasm/emitter.ts';
import { advance, range } from '../wasm/loops.ts';
import { LOWEST, PAGE_KEYS } from './contract.ts';
import { FLOAT_TILES, floatProducts } from './floats.wasm.ts';
import { type IntegerReader, type PanelReader, withPanels } from './integers.wasm.ts';
import { PANEL } from './page.ts';
import { type Column, eachOf, eachTile, hidesKeys, ROW, ROW_BYTES, seenPanels } from './rows.wasm.ts';
import type { Task } from './task.wasm.ts';

/** One page of keys. */
export interface KeyPage extends PagePlace {
  /** Where the largest scores of rows go: four lanes of each. */
  readonly most: Column;
}

/** Where a page is. */
export interface PagePlace {
  readonly at: Local<'i32'>;
  /** Where the table says so. */
  readonly entry: Local<'i32'>;
  /** Its first key. */
  readonly first: Local<'i32'>;
  /** Keys of it that some row may see, from the first one on. */
  readonly keys: Local<'i32'>;
  /** Where its scores are, of the first row. */
  readonly scores: Local<'i32'>;
}

/** Panels of those keys. */
const panelsOf = (f: Func, { keys }: PagePlace): Local<'i32'> =>
  f.let(i32.shrU(i32.add(keys, PANEL - 1), Math.log2(PANEL)));

/**
 * z = fl(fl(Σ qi k · fl(S C)) · ks). All rows are multiplied with a panel of keys before the next panel: meanwhile, the
 * CPU fetches what follows.
 */
export const integerScores = (f: Func, task: Task, reader: IntegerReader, place: KeyPage): void =>
  withPanels(f, reader, task.count, (panels) => panelScores(f, task, panels, place));

function panelScores(f: Func, task: Task, reader: PanelReader, place: KeyPage): void {
  const steps = f.let(i32.divU(task.headSize, reader.stepK));
  const panel = f.let(place.at);
  const panelBytes = f.let(i32.shrU(task.word('v'), Math.log2(PAGE_KEYS / PANEL)));
  const ks = f.let(i32.add(place.at, task.word('ks')));
  const to = f.let(place.scores);
  f.repeat(panelsOf(f, place), () => {
    const keys = f.let(reader.open(panel, task.headSize, task.panel));
    const columns = { q: task.q, row: task.rows, most: place.most, score: { ...task.scores, at: to } };
    eachTile(f, task.count, reader.tiles, columns, (size, { q, row, most, score }) => {
      for (let first = 0; first < PANEL / 4; first += size.vectors) {
        const x = eachOf(f, size.rows, q, task.q);
        const sums = x.map((_, i) => i32.load(row, ROW.querySum + ROW_BYTES * i));
        const values = reader.products(size, { x, panel: f.let(keys), first, steps, sums });
        const own = range(size.vectors).map((g) => f.let(v128.load(ks, 16 * (first + g))));
        const rows = eachOf(f, size.rows, score, task.scores);
        const largest = eachOf(f, size.rows, most, place.most);
        values.forEach((groups, i) => {
          const scale = f.let(v128.load32Splat(row, ROW.scale + ROW_BYTES * i));
          const scores = groups.map((value, g) => f.let(f32x4.mul(f32x4.mul(value, scale), own[g])));
          for (const [g, score] of scores.entries()) f.storeV128(rows[i], score, 16 * (first + g));
          f.storeV128(largest[i], largestOf(v128.load(largest[i], ROW.most), scores), ROW.most);
        });
      }
    });
    advance(panel, panelBytes);
    for (const pointer of [ks, to]) advance(pointer, 4 * PANEL);
  });
}

/** s = Σ q k in one chain, z = fl(s C), padding included: zeros. NaN becomes the one NaN that exponentials know. */
export function floatScores(f: Func, task: Task, place: KeyPage, unroll: Unroll): void {
  const { at: page, scores } = place;
  const panels = panelsOf(f, place);
  const columns = { x: task.x, most: place.most, score: { ...task.scores, at: scores } };
  const scale = f.let(v128.load32Splat(f.let(i32.const(0))));
  scale.set(i32x4.splat(task.word('scale')));
  const nan = f.let(f32x4.const(Number.NaN));
  const panelBytes = f.let(i32.shl(task.headSize, 6));
  eachTile(f, task.count, FLOAT_TILES, columns, ({ rows }, { x, most, score }) => {
    const largest = eachOf(f, rows, most, place.most);
    const [first, to] = [f.let(page), f.let(score)];
    // The second panel of the last pair may be one that no row sees; then its scores are not used.
    const abreast = rows === 1 && unroll > 1 ? 2 : 1;
    f.repeat(abreast === 1 ? panels : i32.shrU(i32.add(panels, 1), 1), () => {
      const side = range(abreast).map((i) => (i ? f.let(i32.add(first, panelBytes)) : first));
      const sums = floatProducts(f, {
        x: eachOf(f, rows, x, task.x),
        panels: side,
        steps: task.headSize,
        unroll,
        start: 'product',
      });
      const targets = eachOf(f, rows, to, task.scores);
      sums.forEach((groups, i) => {
        const scores = groups.map((sum) => {
          const z = f.let(f32x4.mul(sum, scale));
          return f.let(v128.bitselect(z, nan, f32x4.eq(z, z)));
        });
        for (const [g, score] of scores.entries()) f.storeV128(targets[i], score, 16 * g);
        f.storeV128(largest[i], largestOf(v128.load(largest[i], ROW.most), scores), ROW.most);
      });
      first.set(side.at(-1)!);
      advance(to, 4 * PANEL * abreast);
    });
  });
}

/** The largest of each lane; what is no number is left out. */
const largestOf = (most: V128, scores: readonly V128[]): V128 => scores.reduce(f32x4.pmax, most);

/** Not 0: scores of a task are changed before they count, or may be hidden wherever they are. */
export const changesScores = ({ word }: Task): I32 =>
  (['softcap', 'alibi', 'bias', 'mask'] as const).map(word).reduce(i32.or);

/** What is done to the scores of a page before they count, and the largest ones of each row. Call it outside of loops. */
export function scoreForms(f: Func, task: Task): (page: PagePlace) => void {
  const { word, batch, firstHead, heads, first, spare } = task;
  const tanh = laneCode(f, wasmLanes, (lanes, x) => activate(lanes, 'tanh', x));
  const log2e = f.let(f32x4.const(Math.LOG2E));
  const [lowest, hidden, nan] = [LOWEST, Number.NEGATIVE_INFINITY, Number.NaN].map((value) =>
    f.let(f32x4.const(value)),
  );
  const zero = f.let(v128.const16(0));
  const lanes = f.let(LANE_NUMBERS);
  const four = f.let(i32x4.splat(i32.const(4)));
  const softcap = f.let(i32x4.splat(word('softcap')));
  /** Of the task's first row: element (batch, head, query, 0) of what has strides; 0: there is none. */
  const placeOf = (name: 'bias' | 'mask') => {
    const at = f.let(word(name));
    const place = i32.add(
      i32.add(at, i32.mul(batch, word(`${name}Batch`))),
      i32.add(i32.mul(first, word(`${name}Row`)), i32.mul(firstHead, word(`${name}Head`))),
    );
    f.when(at, () => at.set(place));
    return at;
  };
  const places = { bias: placeOf('bias'), mask: placeOf('mask') };
  const changes = f.let(changesScores(task));
  /** Marks of a page. */
  const seen = f.let(i32.add(spare, 4 * PAGE_KEYS));
  const slopes = f.let(word('alibi'));
  f.when(slopes, () => advance(slopes, i32.shl(firstHead, 2)));

  return (place: PagePlace): void => {
    const { first: firstKey, keys, scores } = place;
    const all = panelsOf(f, place);
    const panels = f.let(all);
    const row = f.let(task.rows.at);
    const score = f.let(scores);
    const queries = { bias: f.let(places.bias), mask: f.let(places.mask) };
    f.repeat(task.queries, () => {
      const head = { bias: f.let(queries.bias), mask: f.let(queries.mask), slope: f.let(slopes) };
      // All heads of a query see the same keys.
      panels.set(all);
      const hides = f.let(hidesKeys(row, firstKey));
      const skipped = f.let(i32.const(0));
      f.when(hides, () => {
        panels.set(seenPanels(f, row, place));
        // Unless a window begins in the page, only its last panel has keys to hide.
        f.when(i32.geU(firstKey, i32.load(row, ROW.begin)), () => skipped.set(i32.sub(panels, 1)));
        markSeen(skipped);
      });
      f.repeat(heads, () => {
        f.when(changes, () => change(head));
        f.when(hides, () => hideOthers(skipped));
        largest();
        advance(row, ROW_BYTES);
        advance(score, task.scores.stride);
      });
      for (const name of ['bias', 'mask'] as const)
        f.when(queries[name], () => advance(queries[name], word(`${name}Row`)));
    });

    /** What is added to scores of the row, and what masks hide. */
    function change(head: Record<'bias' | 'mask' | 'slope', Local<'i32'>>) {
      f.when(word('softcap'), () => eachFour((z) => f32x4.mul(tanh(z), softcap)));
      f.when(head.slope, () => {
        const slope = f.let(v128.load32Splat(head.slope));
        const distance = f.let(i32x4.sub(i32x4.add(i32x4.splat(firstKey), lanes), v128.load32Splat(row, ROW.position)));
        eachFour((z) => {
          const moved = f.let(f32x4.add(z, f32x4.mul(slope, f32x4.convertI32x4S(distance))));
          distance.set(i32x4.add(distance, four));
          return moved;
        });
        advance(head.slope, 4);
      });
      f.when(head.bias, () => {
        const at = f.let(i32.add(head.bias, i32.shl(firstKey, 2)));
        // A whole page of neighbours is read where it lies: gathering costs as much as half of the exponentials.
        f.when(i32.or(i32.sub(word('biasKey'), 4), i32.sub(keys, PAGE_KEYS)), () =>
          at.set(gather(head.bias, word('biasKey'), i32.load)),
        );
        eachFour((z) => {
          const bias = f.let(v128.load(at));
          advance(at, 16);
          const sum = f.let(f32x4.add(z, f32x4.mul(bias, log2e)));
          const added = f.let(v128.bitselect(f32x4.pmax(sum, lowest), nan, f32x4.eq(sum, sum)));
          return v128.bitselect(hidden, added, f32x4.eq(bias, hidden));
        });
        advance(head.bias, word('biasHead'));
      });
      f.when(head.mask, () => {
        const at = gather(head.mask, word('maskKey'), i32.load8U);
        eachFour((z) => {
          const isHidden = f.let(i32x4.eq(v128.load(at), zero));
          advance(at, 16);
          return v128.bitselect(hidden, z, isHidden);
        });
        advance(head.mask, word('maskHead'));
      });
    }

    function eachFour(change: (z: Local<'v128'>) => V128) {
      const at = f.let(score);
      f.repeat(i32.shl(panels, 2), () => {
        f.storeV128(at, change(f.let(v128.load(at))));
        advance(at, 16);
      });
    }

    /** Elements for the page's keys, as adjacent words. Nothing is read past the existing keys. */
    function gather(row: I32, step: I32, load: (at: I32) => I32): Local<'i32'> {
      const from = f.let(i32.add(row, i32.mul(firstKey, step)));
      const to = f.let(spare);
      f.repeat(keys, () => {
        f.storeI32(to, load(from));
        advance(from, step);
        advance(to, 4);
      });
      return f.let(spare);
    }

    /** Which keys of its panels behind the skipped ones the row sees. */
    function markSeen(skipped: I32) {
      const begin = f.let(i32.add(firstKey, i32.mul(skipped, PANEL)));
      const before = f.let(i32x4.splat(i32.sub(i32.sub(i32.load(row, ROW.begin), begin), 1)));
      const after = f.let(i32x4.splat(i32.sub(i32.load(row, ROW.end), begin)));
      const [key, at] = [f.let(lanes), f.let(seen)];
      f.repeat(i32.shl(i32.sub(panels, skipped), 2), () => {
        f.storeV128(at, v128.and(i32x4.gtS(key, before), i32x4.gtS(after, key)));
        key.set(i32x4.add(key, four));
        advance(at, 16);
      });
    }

    function hideOthers(skipped: I32) {
      const [at, mark] = [f.let(i32.add(score, i32.mul(skipped, 4 * PANEL))), f.let(seen)];
      f.repeat(i32.sub(panels, skipped), () => {
        for (const offset of range(PANEL / 4).map((i) => 16 * i))
          f.storeV128(at, v128.bitselect(v128.load(at, offset), hidden, v128.load(mark, offset)), offset);
        for (const pointer of [at, mark]) advance(pointer, 4 * PANEL);
      });
    }

    function largest() {
      const at = f.let(score);
      const most = range(4).map(() => f.let(v128.load(row, ROW.most)));
      f.repeat(panels, () => {
        for (const [i, so] of most.entries()) so.set(f32x4.pmax(so, v128.load(at, 16 * i)));
        advance(at, 64);
      });
      const [a, b, c, d] = most;
      f.storeV128(row, f32x4.pmax(f32x4.pmax(a, b), f32x4.pmax(c, d)), ROW.most);
    }
  };
}
