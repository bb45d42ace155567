/** Loops over a row, by operator. */
import { INT64, isFloat } from '../data-types.ts';
import { OPERATORS } from './index.ts';
import { elements, type NodeView } from './operator.ts';
import { NO_SYMBOLS } from './shape.ts';

export type Row = Float64Array;
/** Of `n` elements. */
export type RowOp = (out: Row, args: readonly Row[], n: number) => void;
/** One element, for what a row's loop does not do: beyond 2^53. */
type Single = (...args: readonly number[]) => number;

/** Beyond, doubles have gaps. */
const SAFE = Number.MAX_SAFE_INTEGER;

/** A node's arithmetic on rows. */
export function rowOp(view: NodeView, operands: readonly number[], elemType: number): RowOp {
  const { infer } = OPERATORS.get(view.node.opType)!;
  const numbers = (args: readonly (readonly number[])[]): readonly number[] => {
    const infos = args.map((data, i) => ({ elemType: operands[i]!, dims: [data.length], data }));
    return elements(infer(view, infos, NO_SYMBOLS)[0])!;
  };
  const kind = isFloat(operands[0]!) ? 'float' : operands[0] === INT64 ? 'whole' : '';
  const make = ROWS[`${view.node.opType} ${kind}`] ?? ROWS[view.node.opType];
  const single: Single = (...args) => numbers(args.map((value) => [value]))[0]!;
  return make?.(single, elemType) ?? ((out, args) => out.set(numbers(args.map((row) => Array.from(row)))));
}

/**
 * By operator, and what its first operand is made of: a loop for each, which engines optimise for itself. The operator's own function
 * does what is missing, at some 50 ns per element.
 */
const ROWS: Readonly<Record<string, (single: Single, elemType: number) => RowOp | undefined>> = {
  'Add whole': (single) => (out, args, n) => {
    const [a, b] = args as [Row, Row];
    for (let i = 0; i < n; i++) {
      const [x, y] = [a[i]!, b[i]!];
      const sum = x + y;
      out[i] = isSafe(x) && isSafe(y) && isSafe(sum) ? sum : single(x, y);
    }
  },
  'Sub whole': (single) => (out, args, n) => {
    const [a, b] = args as [Row, Row];
    for (let i = 0; i < n; i++) {
      const [x, y] = [a[i]!, b[i]!];
      const rest = x - y;
      out[i] = isSafe(x) && isSafe(y) && isSafe(rest) ? rest : single(x, y);
    }
  },
  'Mul whole': (single) => (out, args, n) => {
    const [a, b] = args as [Row, Row];
    for (let i = 0; i < n; i++) {
      const [x, y] = [a[i]!, b[i]!];
      const product = x * y + 0;
      out[i] = isSafe(x) && isSafe(y) && isSafe(product) ? product : single(x, y);
    }
  },
  'Neg whole': () => (out, args, n) => {
    const [a] = args as [Row];
    for (let i = 0; i < n; i++) out[i] = 0 - a[i]!;
  },
  'Abs whole': () => (out, args, n) => {
    const [a] = args as [Row];
    for (let i = 0; i < n; i++) out[i] = Math.abs(a[i]!);
  },
  'Mul float': () => (out, args, n) => {
    const [a, b] = args as [Row, Row];
    for (let i = 0; i < n; i++) out[i] = Math.fround(a[i]! * b[i]!);
  },
  'Div float': () => (out, args, n) => {
    const [a, b] = args as [Row, Row];
    for (let i = 0; i < n; i++) out[i] = Math.fround(a[i]! / b[i]!);
  },
  Log: () => (out, args, n) => {
    const [a] = args as [Row];
    for (let i = 0; i < n; i++) out[i] = Math.fround(Math.log(a[i]!));
  },
  Min: () => (out, args, n) => {
    const [a, b = a] = args as [Row, Row?];
    if (args.length > 2) for (let i = 0; i < n; i++) out[i] = Math.min(...args.map((arg) => arg[i]!));
    else for (let i = 0; i < n; i++) out[i] = Math.min(a[i]!, b[i]!);
  },
  Less: () => (out, args, n) => {
    const [a, b] = args as [Row, Row];
    for (let i = 0; i < n; i++) out[i] = a[i]! < b[i]! ? 1 : 0;
  },
  Greater: () => (out, args, n) => {
    const [a, b] = args as [Row, Row];
    for (let i = 0; i < n; i++) out[i] = a[i]! > b[i]! ? 1 : 0;
  },
  Where: () => (out, args, n) => {
    const [is, a, b] = args as [Row, Row, Row];
    for (let i = 0; i < n; i++) out[i] = is[i] ? a[i]! : b[i]!;
  },
  'Cast whole': (_, elemType) =>
    !isFloat(elemType)
      ? undefined
      : (out, args, n) => {
          const [a] = args as [Row];
          for (let i = 0; i < n; i++) out[i] = Math.fround(a[i]!);
        },
  'Cast float': (single, elemType) =>
    elemType !== INT64
      ? undefined
      : (out, args, n) => {
          const [a] = args as [Row];
          for (let i = 0; i < n; i++) {
            const whole = Math.trunc(a[i]!) + 0;
            out[i] = isSafe(whole) ? whole : single(a[i]!);
          }
        },
  'Cast ': (_, elemType) =>
    elemType !== INT64
      ? undefined
      : (out, args) => {
          const [a] = args as [Row];
          out.set(a);
        },
};

const isSafe = (value: number): boolean => value >= -SAFE && value <= SAFE;
