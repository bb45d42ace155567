/**
 * elementwise_<expression>_<inputs>: one thread per element of the result, or per four where an output is bool. WGSL.
 *
 * in0 …   f32, i32 or bool; d in the name: dense, as the result lies; b: repeated, by its strides
 * out0 …  f32, i32 or bool, dense; may lie where an input of the same type and dimensions does
 *
 * Functions are those of the contract; docs/webgpu.md says what WGSL leaves open.
 */
import type { DType, TensorType, WgslCall } from '../../ops/op.ts';
import { elementCount } from '../../ops/op.ts';
import { broadcastStrides, collapse } from '../../ops/strides.ts';
import { LINEAR_ID, THREADS, withoutEmptyLines } from '../../webgpu/wgsl.ts';
import { shortId } from '../ids.ts';
import { evaluate, expressionText, type TypedExpression } from './expression.ts';
import { LANE_FUNCTIONS, moreWgslLanes, Statements } from './lanes.wgsl.ts';

export function elementwiseWgsl(
  expression: TypedExpression,
  inputs: readonly TensorType[],
  outputs: readonly TensorType[],
): WgslCall[] {
  const { dims } = outputs[0];
  const count = elementCount(dims);
  if (count === 0) return [];
  const strides = inputs.map((input) => broadcastStrides(input.dims, dims.length));
  const isDense = inputs.map((input) => elementCount(input.dims) === count);
  const repeated = inputs.flatMap((_, i) => (isDense[i] ? [] : [i]));
  const loops = collapse(
    dims,
    repeated.map((i) => strides[i]),
  );
  const params: Record<string, number> = { count, zero: 0 };
  // The outermost dimension is never divided by.
  for (let d = 1; d < loops.dims.length && repeated.length > 0; d++) params[`dim${d}`] = loops.dims[d];
  for (const [r, i] of repeated.entries())
    for (const [d, step] of loops.strides[r].entries()) params[`step${d}_${i}`] = step;
  const shape: Shape = {
    expression,
    isDense,
    rank: loops.dims.length,
    results: outputs.map(({ dtype }) => dtype),
  };
  const kinds = inputs.map(({ dtype }, i) => `${dtype[0]}${isDense[i] ? 'd' : 'b'}`).join('');
  const rank = repeated.length > 0 ? `_${shape.rank}d` : '';
  const threads = Math.ceil(count / elementsPerThread(shape));
  return [
    {
      id: shortId(`elementwise_${expressionText(expression)}_${kinds}${rank}`),
      operands: {
        ...Object.fromEntries(inputs.map((_, i) => [`in${i}`, i])),
        ...Object.fromEntries(outputs.map((_, o) => [`out${o}`, inputs.length + o])),
      },
      params,
      code: () => elementwiseCode(shape),
      workgroups: Math.ceil(threads / THREADS),
    },
  ];
}

/** What the code depends on. */
interface Shape {
  readonly expression: TypedExpression;
  readonly isDense: readonly boolean[];
  /** Loops over the result. */
  readonly rank: number;
  readonly results: readonly DType[];
}

/** Bools are stored four at a time. */
const elementsPerThread = ({ results }: Shape): number => (results.includes('bool') ? 4 : 1);

function elementwiseCode(shape: Shape): string {
  const { expression, isDense, results } = shape;
  const statements = new Statements();
  const inputs = isDense.map((dense, i) => statements.let(`in${i}(${dense ? 'i' : `at${i}(i)`})`));
  const values = evaluate(moreWgslLanes(statements), expression, inputs);
  const stores = values.map((value, o) =>
    results[o] === 'bool' ? `four${o} |= select(0u, 1u << (8u * j), ${value});` : `set_out${o}(i, ${value});`,
  );
  const bools = results.flatMap((type, o) => (type === 'bool' ? [o] : []));
  const body = [...statements.lines, ...stores].join('\n    ');
  const each = elementsPerThread(shape);
  return withoutEmptyLines(`${LANE_FUNCTIONS}
${isDense.map((dense, i) => (dense ? '' : indexFunction(i, shape.rank))).join('\n')}
@compute @workgroup_size(${THREADS}) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  ${LINEAR_ID}
  let first = ${each}u * (${THREADS}u * id + lid);
  ${bools.map((o) => `var four${o} = 0u;`).join('\n  ')}
  for (var j = 0u; j < ${each}u && first + j < p.count; j++) {
    let i = first + j;
    ${body}
  }
  ${bools.map((o) => `if (first < p.count) { set_out${o}(first / 4u, four${o}); }`).join('\n  ')}
}
`);
}

/** Where element i of the result finds its element of a repeated input. */
function indexFunction(input: number, rank: number): string {
  const steps = Array.from({ length: rank - 1 }, (_, i) => {
    const d = rank - 1 - i;
    return `at += (rest % p.dim${d}) * p.step${d}_${input};\n  rest /= p.dim${d};`;
  });
  return `fn at${input}(i: u32) -> u32 {
  var rest = i;
  var at = 0u;
  ${steps.join('\n  ')}
  return at + rest * p.step0_${input};
}`;
}
