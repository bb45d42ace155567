/** Evaluates arithmetic row by row: a row goes through all nodes, so nothing in between is ever as large as the result. */
import { countOf } from '../dims.ts';
import { repeatStrides } from './host.ts';
import type { Elements } from './lowering.ts';
import type { Row, RowOp } from './row-loops.ts';

export interface RowStep {
  readonly name: string;
  readonly inputs: readonly string[];
  readonly op: RowOp;
}

/**
 * All elements of the last step, row by row.
 *
 * @param steps in order
 * @param leaves dims of what they are made of
 * @param dims of the result: everything is repeated to it
 */
export function evaluator(
  steps: readonly RowStep[],
  leaves: ReadonlyMap<string, readonly number[]>,
  dims: readonly number[],
) {
  const n = dims.at(-1) ?? 1;
  const count = countOf(dims);
  const outer = dims.slice(0, -1);
  const strides = new Map([...leaves].map(([name, own]) => [name, repeatStrides(own, dims)]));
  return (elementsOf: (leaf: string) => Elements, take: (row: Row, n: number, at: number) => void): void => {
    if (count === 0) return;
    const rows = new Map(
      [...leaves.keys(), ...steps.map(({ name }) => name)].map((name) => [name, new Float64Array(n)]),
    );
    const bound = steps.map(({ name, inputs, op }) => ({
      op,
      out: rows.get(name)!,
      args: inputs.map((input) => rows.get(input)!),
    }));
    const fills = [...strides].map(([name, steps]) => {
      const { data } = elementsOf(name);
      const row = rows.get(name)!;
      const step = steps.at(-1) ?? 0;
      let last = -1;
      return (at: readonly number[]): void => {
        let from = 0;
        for (let i = 0; i < at.length; i++) from += at[i]! * steps[i]!;
        if (from === last) return;
        last = from;
        for (let i = 0; i < n; i++) row[i] = data[from + i * step]!;
      };
    });
    const at = outer.map(() => 0);
    const result = bound.at(-1)!.out;
    for (let begin = 0; begin < count; begin += n) {
      for (const fill of fills) fill(at);
      for (const { op, out, args } of bound) op(out, args, n);
      take(result, n, begin);
      for (let axis = at.length - 1; axis >= 0 && ++at[axis]! === outer[axis]!; axis--) at[axis] = 0;
    }
  };
}
