/**
 * Rotary embeddings inside attention: rows of cos and sin by position. Tables that are large, or two of which one is chosen in every
 * run (by the length, in models with "long rope"), stay where they are: the rows of a run are read from them.
 */
import { type RotaryOp, rotaryOnWasm as rotary } from '@msd/core/nn';
import { isFloat } from '../../data-types.ts';
import type { Matcher } from '../../passes/matcher.ts';
import type { TensorRef } from '../../read/tensor.ts';
import { floatTypeOf } from '../gather.ts';
import { type Elements, emitOp, type Lowering, type Resource, type Slot, type TableRef } from '../lowering.ts';
import { branchesOf, type NodeView } from '../operator.ts';

/** Where cos and sin come from. */
export interface Angles {
  readonly cos: string;
  readonly sin: string;
  /** Operands on the device. */
  readonly values: readonly string[];
  /** Tables, where rows are read: of both if the condition holds, else the others. Keys of cos, then of sin. */
  readonly tables: readonly (readonly [cos: Keyed, sin: Keyed])[];
  /** '' = there is nothing to choose. */
  readonly condition: string;
  readonly resources: readonly Resource[];
}

interface Keyed {
  readonly key: string;
  readonly table: TableRef;
}

/** Of a run: positions of all rows, from values of JavaScript. */
export interface Positions {
  readonly batch: number;
  readonly rows: number;
  readonly key: string;
  readonly needs: readonly string[];
  of(values: readonly Elements[]): readonly number[];
}

/** Tables up to this size are copied to the device. */
const SMALL_BYTES = 2 ** 20;

/** A reason if they cannot be had. */
export function anglesOf(matcher: Matcher, cos: string, sin: string): Angles | string {
  const choice = choiceOf(matcher, cos, sin);
  if (typeof choice === 'object') return choice;
  const refused = choice ?? matcher.notFloat('cos', cos) ?? matcher.notFloat('sin', sin);
  if (refused !== undefined) return refused;
  const held = [cos, sin].map((name) => keyed(name, matcher.tensor(name)));
  const [c, s] = held;
  const isLarge = held.every((each) => each && 4 * each.table.rows * each.table.columns > SMALL_BYTES);
  if (c && s && isLarge) return tabled(cos, sin, [[c, s]], '');
  return { cos, sin, values: [cos, sin], tables: [], condition: '', resources: [] };
}

/** Both come out of one If whose branches hold nothing but tables. A reason if it is another If. */
function choiceOf(matcher: Matcher, cos: string, sin: string): Angles | string | undefined {
  const node = matcher.producer(cos);
  if (node?.opType !== 'If' || node.domain !== '') return undefined;
  const branches = matcher.producer(sin) === node ? branchesOf(node) : undefined;
  const [condition = ''] = node.inputs;
  if (!branches || !matcher.isHostOperand(condition)) return 'cos and sin are computed under a condition';
  const [c, s] = [node.outputs.indexOf(cos), node.outputs.indexOf(sin)];
  const pairs = branches.map((tensors, i) => [keyed(`${cos} ${i}`, tensors[c]), keyed(`${sin} ${i}`, tensors[s])]);
  const columns = new Set(pairs.flat().map((each) => each?.table.columns));
  if (columns.size !== 1 || columns.has(undefined)) return 'cos and sin are not tables of equal width';
  return tabled(cos, sin, pairs as unknown as Angles['tables'], condition);
}

function keyed(key: string, tensor: TensorRef | undefined): Keyed | undefined {
  if (!tensor || !isFloat(tensor.elemType) || tensor.dims.length !== 2) return undefined;
  const [rows, columns] = tensor.dims as readonly [number, number];
  return { key: `angles ${key}`, table: { rows, columns, format: floatTypeOf(tensor), data: tensor } };
}

function tabled(cos: string, sin: string, tables: Angles['tables'], condition: string): Angles {
  const resources = tables.flat().map(({ key, table }): Resource => ({ kind: 'table', key, table }));
  return { cos, sin, values: [], tables, condition, resources };
}

/** Turns heads by the positions of their rows. */
export function turner(to: Lowering, view: NodeView, angles: Angles, positions: Positions) {
  const [first] = angles.tables;
  const columns = first ? first[0].table.columns : (to.info(angles.cos).dims[1] ?? 0);
  const operands = first ? rowsOf(to, view, angles, positions) : atPositions(to, view, angles, positions);
  const op = (heads: number): RotaryOp => ({
    interleaved: view.int('rotary_interleaved', 0) === 1,
    heads,
    rotaryDim: 2 * columns,
  });
  return {
    /** Elements of each head that turn. */
    size: 2 * columns,
    by: (x: Slot, heads: number): Slot => emitOp(to, rotary, op(heads), [x, ...operands], [])[0]!,
  };
}

/** Whole tables, and positions in them. */
function atPositions(to: Lowering, view: NodeView, { cos, sin }: Angles, positions: Positions): Slot[] {
  const { batch, rows, key, needs } = positions;
  const [c, s] = [to.slot(cos), to.slot(sin)];
  const count = c.dims[0]!;
  const at = to.computed({
    ...{ key: `positions ${key} ${batch} ${rows} ${count}`, dims: [batch, rows], needs },
    compute: (values, out) => out.set(checked(view, positions.of(values), count)),
  });
  return [c, s, at];
}

/** The rows of a run alone. */
function rowsOf(to: Lowering, view: NodeView, { tables, condition }: Angles, positions: Positions): Slot[] {
  const { batch, rows, key, needs } = positions;
  return [0, 1].map((part) => {
    const parts = tables.map((pair) => pair[part as 0 | 1]);
    const own = parts.map((each) => each.key);
    return to.computed({
      key: `${own} ${key} ${batch} ${rows}`,
      dims: [batch, rows, parts[0]!.table.columns],
      needs: condition === '' ? needs : [...needs, condition],
      tables: own,
      compute: (values, out, readers) => {
        const chosen = condition !== '' && values.at(-1)!.data[0] === 0 ? 1 : 0;
        const at = checked(view, positions.of(values), parts[chosen]!.table.rows);
        readers[chosen]!(at, out as Float32Array);
      },
    });
  });
}

function checked(view: NodeView, positions: readonly number[], rows: number): readonly number[] {
  for (const position of positions)
    if (!(position >= 0 && position < rows))
      view.fail('positions', `0 to ${rows - 1}, as cos_cache has rows`, `${position}`);
  return positions;
}
