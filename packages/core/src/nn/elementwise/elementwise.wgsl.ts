/**
 * elementwise_<expression>_<types>: functions.ts as WGSL text, an element per thread; four where an output is bool, whose bytes
 * are written by fours.
 *
 * in0 …, out0 …   as in elementwise.wasm.ts, by their flat index
 * count           elements of the result; n<d> of each loop, the innermost is the last
 * s<i>_<d>        how far input i goes on per turn of loop d
 *
 * Ints, bools, comparisons and selections are exact. Floats are what WGSL makes of the contract's operations: see docs/webgpu.md.
 */
import { elementCount, type TensorType, type WgslCall } from '../../ops/op.ts';
import type { Loops } from '../../ops/strides.ts';
import { range } from '../../wasm/loops.ts';
import { LINEAR_ID, THREADS } from '../../wgsl/wgsl.ts';
import { shortId } from '../ids.ts';
import { evaluate, expressionText, type TypedExpression } from './expression.ts';
import { wgslBody } from './lanes.wgsl.ts';

export function elementwiseWgsl(
  expression: TypedExpression,
  loops: Loops,
  inputs: number,
  outputs: readonly TensorType[],
): WgslCall {
  const count = elementCount(outputs[0].dims);
  const depth = loops.dims.length;
  const perThread = outputs.some(({ dtype }) => dtype === 'bool') ? 4 : 1;
  const types = expression.types.slice(0, inputs).map((type) => type[0]);
  const named = (prefix: string, length: number, from: number) =>
    Object.fromEntries(range(length).map((i) => [`${prefix}${i}`, from + i]));
  const strides = range(inputs).flatMap((i) => loops.dims.map((_, d) => [`s${i}_${d}`, loops.strides[i][d]] as const));
  return {
    id: shortId(`elementwise_${expressionText(expression)}_${types.join('')}_${depth}d`),
    operands: { ...named('in', inputs, 0), ...named('out', outputs.length, inputs) },
    params: {
      count,
      ...Object.fromEntries(loops.dims.map((dim, d) => [`n${d}`, dim])),
      ...Object.fromEntries(strides),
    },
    code: () => codeOf(expression, depth, inputs, outputs, perThread),
    workgroups: Math.ceil(count / perThread / THREADS),
  };
}

function codeOf(
  expression: TypedExpression,
  depth: number,
  inputs: number,
  outputs: readonly TensorType[],
  perThread: 1 | 4,
): string {
  const body = wgslBody('(p.count >> 31u)');
  const results = evaluate(
    body.lanes,
    expression,
    range(inputs).map((i) => `x${i}`),
  );
  const index = [
    'var rest = i;',
    ...range(depth)
      .reverse()
      .map((d) => `let c${d} = rest % p.n${d};${d > 0 ? ` rest /= p.n${d};` : ''}`),
    ...range(inputs).map(
      (i) =>
        `let x${i} = in${i}(${range(depth)
          .map((d) => `c${d} * p.s${i}_${d}`)
          .join(' + ')});`,
    ),
  ];
  const stores = outputs.map(({ dtype }, o) =>
    dtype === 'bool' ? `four${o} |= select(0u, 1u, ${results[o]}) << (8u * j);` : `set_out${o}(i, ${results[o]});`,
  );
  const element = [...index, body.statements(), ...stores].join('\n');
  const bools = outputs.flatMap(({ dtype }, o) => (dtype === 'bool' ? [o] : []));
  const main =
    perThread === 1
      ? `let i = thread;\nif (i >= p.count) { return; }\n${element}`
      : `if (4u * thread >= p.count) { return; }
${bools.map((o) => `var four${o} = 0u;`).join('\n')}
for (var j = 0u; j < 4u; j++) {
let i = 4u * thread + j;
if (i >= p.count) { break; }
${element}
}
${bools.map((o) => `set_out${o}(thread, four${o});`).join('\n')}`;
  return `${[...body.declarations.values()].join('\n')}
@compute @workgroup_size(${THREADS}) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
${LINEAR_ID}
let thread = ${THREADS}u * id + lid;
${main}
}
`;
}
