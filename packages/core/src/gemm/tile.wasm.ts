/**
 * The inner loop of every integer product: a register tile of rows x columns, over the steps of a chunk. It knows
 * nothing about scales, heads of blocks, or where results go.
 *
 *   sum[i][g] = start + Σ over the steps: x[i] · w[g]                    i: rows of x, g: groups of four columns
 *
 * x       each row a pointer to 32-bit words, of a carrier's integers (gemm/carriers.ts)
 * w       steps of whole vectors, packed or widened, that a reader turns into one operand per group
 *
 * rows + vectors loads serve rows · vectors dot products. What a tile may hold: 15 registers in V8, 8 accumulators and their operands.
 */
import { K_STEP } from '../formats/format.ts';
import { type Func, type I32, i32, i32x4, type Local, type V128, v128 } from '../wasm/emitter.ts';
import { advance, once, range, tile as tileOf } from '../wasm/loops.ts';
import type { BlockReader, Carrier, OpenCarrier } from './carriers.ts';

export interface Tile
  extends Pick<Carrier, 'stepK' | 'words' | 'operands' | 'quads' | 'sums' | 'surplus' | 'dot'>,
    Pick<OpenCarrier, 'integers'> {
  /** Groups of four columns. */
  readonly vectors: number;
  /** Vectors that a step of w has for them. */
  readonly loads: number;
  /** From one step of w to the next. */
  readonly stepBytes: number;
  /** Steps per turn of the loop. */
  readonly kUnroll: number;
  /** Panels that share the activations in registers. */
  readonly abreast: number;
  /** Tiles of several rows read the two operands of a step in loops of their own. */
  readonly apart: boolean;
}

/** A panel of w that a tile reads. */
export interface TilePanel {
  readonly reader: Pick<BlockReader, 'groups'>;
  /** Moves through the steps. */
  readonly weights: Local<'i32'>;
}

/** The operands of a chunk. */
export interface TileChunk {
  /** Moved past the chunk, as the weights are. */
  readonly x: readonly Local<'i32'>[];
  /** Bytes between the words of a step; default: they are neighbours. */
  readonly apart?: number | undefined;
  /** A whole number of turns. */
  readonly steps: I32 | number;
  /** Group of a panel that the tile begins with; 0 if widened. */
  readonly first: number;
  /** Of more than 32 k: panels take turns every 32 k, so that several streams of weights are read at a time. */
  readonly inTurns: boolean;
  /** The start value of the (last) accumulator of panel t, row i and group g; absent: zero. */
  start(t: number, i: number, g: number): V128 | undefined;
}

type Use = (x: V128, w: V128, i: number, g: number, sum: number) => void;

/**
 * @returns for each panel a function that gives its sums; call them in the order of the panels, code is emitted at the
 * call
 */
export function tileProducts(
  f: Func,
  tile: Tile,
  panels: readonly TilePanel[],
  { x, apart: far, steps, first, inTurns, start }: TileChunk,
): (() => V128[][])[] {
  const {
    stepK,
    words,
    operands,
    quads,
    sums,
    surplus,
    dot,
    integers,
    vectors,
    loads,
    stepBytes,
    kUnroll,
    abreast,
    apart,
  } = tile;
  const wordsOf = (operand: number) => (operands === 1 ? range(words) : [operand]);
  const sumOf = (word: number) => (sums === 1 ? 0 : word);
  const firstLoad = (first / vectors) * loads;
  const [loadOf, loadBytes] = quads ? [v128.load8x8U, 8] : [v128.load, 16];
  const splat = quads ? v128.load64Splat : v128.load32Splat;
  const groupsOf = ({ reader, weights }: TilePanel, u: number, v: number) =>
    reader.groups(f.let(loadOf(weights, stepBytes * u + loadBytes * (firstLoad + v))), firstLoad + v);
  const [stepBytesOfX, wordBytes] = quads ? [8, 0] : far ? [4, far] : [4 * words, 4];
  const activations = (row: I32, u: number, word: number) => f.let(splat(row, stepBytesOfX * u + wordBytes * word));
  /** One row: its activations stay in registers, each vector of weights is loaded right before its products. */
  const ofRow = (side: readonly TilePanel[], row: I32, u: number, use: readonly Use[]) => {
    const a = range(words).map((word) => activations(row, u, word));
    side.forEach((panel, t) => {
      for (const v of range(loads)) {
        const groups = groupsOf(panel, u, v);
        for (const operand of range(operands))
          groups(operand).forEach((group, i, { length }) => {
            const b = f.let(group);
            for (const word of wordsOf(operand)) use[t](a[word], b, 0, length * v + i, sumOf(word));
          });
      }
    });
  };
  /** Several rows share the weights; one activation vector is live at a time. */
  const ofRows = (panel: TilePanel, x: readonly I32[], u: number, use: Use, which: readonly number[]) => {
    for (const operand of which) {
      const b = range(loads).flatMap((v) => groupsOf(panel, u, v)(operand).map((group) => f.let(group)));
      x.forEach((row, i) => {
        for (const word of wordsOf(operand)) {
          const a = activations(row, u, word);
          b.forEach((vector, g) => {
            use(a, vector, i, g, sumOf(word));
          });
        }
      });
    }
  };
  /** kUnroll steps of panels side by side. */
  const turn = (
    side: readonly TilePanel[],
    x: readonly Local<'i32'>[],
    use: readonly Use[],
    which = range(operands),
  ) => {
    for (const u of range(kUnroll))
      if (x.length === 1) ofRow(side, x[0], u, use);
      else for (const [t, panel] of side.entries()) ofRows(panel, x, u, use[t], which);
    for (const row of x) advance(row, stepBytesOfX * kUnroll);
    for (const { weights } of side) advance(weights, stepBytes * kUnroll);
  };
  const accumulators = () => tileOf(x.length, quads ? loads : vectors, (): Local<'v128'>[] => []);
  /** Sums of four columns from two accumulators of quads. */
  const joined = (acc: readonly (readonly V128[])[], t: number, i: number) =>
    range(vectors).map((g) => {
      const [[a], [b]] = acc.slice(2 * g);
      const part = (first: number) =>
        v128.shuffle(
          a,
          b,
          range(16).map((byte) => 8 * (byte >> 2) + (byte & 3) + first),
        );
      return [i32x4.sub(i32x4.add(part(0), part(4)), from(t, i, g, 0)!)];
    });
  const from = (t: number, i: number, g: number, sum: number) =>
    sum === sums - 1 ? start(t, i, first + g) : undefined;
  /** Adds to a sum, or starts it if there is none yet. */
  const accumulate =
    (acc: Local<'v128'>[][][], t: number): Use =>
    (a, w, i, g, sum) => {
      const known = acc[i][g][sum];
      if (known) known.set(dot(a, w, known));
      else if (quads) acc[i][g][sum] = f.let(dot(a, w));
      else {
        const start = from(t, i, g, sum);
        acc[i][g][sum] = f.let(start && surplus ? i32x4.sub(dot(a, w), start) : dot(a, w, start));
      }
    };

  const width = Math.min(abreast, panels.length);
  const sides = range(panels.length / width).map((i) => range(width).map((t) => width * i + t));
  const ofSide = (side: readonly number[]) => side.map((t) => panels[t]);
  /** The same x for all sides but the last one, which moves it on. */
  const shared = (side: number) => (side === sides.length - 1 ? x : copies(x));
  const copies = (rows: readonly Local<'i32'>[]) => rows.map((row) => f.let(row));
  /** To be read once more. */
  const again = (side: readonly TilePanel[]) => side.map((panel) => ({ ...panel, weights: f.let(panel.weights) }));
  if (sides.length === 1 || !inTurns)
    // Whole chunks, one side after the other.
    return sides.flatMap((side, i) => {
      const whole = once(() => {
        const acc = side.map(accumulators);
        const use = side.map((t, j) => accumulate(acc[j], t));
        /** The first step is peeled, it needs neither zeroed accumulators nor additions: 6 % for blocks of 32. */
        const begin = (side: readonly TilePanel[], row: readonly Local<'i32'>[], which?: number[]) => {
          turn(side, row, use, which);
          f.repeat(i32.sub(i32.divU(steps, kUnroll), 1), () => turn(side, row, use, which));
        };
        const row = shared(i);
        if (apart && operands === 2 && x.length > 1) {
          begin(again(ofSide(side)), copies(row), [0]);
          f.repeat(steps, () => turn(ofSide(side), row, use, [1]));
        } else begin(ofSide(side), row);
        return acc;
      });
      return side.map((t, j) => () => whole()[j].map((acc, i) => integers(quads ? joined(acc, t, i) : acc)));
    });

  const all = panels.map((_, t) =>
    accumulators().map((row, i) => row.map((_, g) => range(sums).map((sum) => f.let(from(t, i, g, sum) ?? ZERO)))),
  );
  f.repeat(i32.divU(steps, K_STEP / stepK), () => {
    sides.forEach((side, i) => {
      const here = shared(i);
      const use = side.map((t) => accumulate(all[t], t));
      f.repeat(K_STEP / stepK / kUnroll, () => turn(ofSide(side), here, use));
    });
  });
  return all.map((acc) => () => acc.map(integers));
}

const ZERO = v128.const16(0);
