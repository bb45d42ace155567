/**
 * norm_<kind>_<operands>: contract.ts in WGSL, one workgroup per row.
 *
 * x, skip, scale, …   as in norm.wasm.ts; y and sum may lie where x does
 *
 * A thread takes every 64th element, the threads' sums go down a tree, and 1/√v is `inverseSqrt`: not the bits of the f32 contract,
 * but within the bound for 'webgpu' (bound.ts). NaN and infinities are looked for by bits, since WGSL may assume that there are none.
 * What overflows on the way is not defined here.                                              (docs/webgpu.md, "Bound")
 */

import { f32Bits } from '../../numbers.ts';
import type { WgslCall } from '../../ops/op.ts';
import { LINEAR_ID, NAN_BITS, THREADS, withoutEmptyLines } from '../../wgsl/wgsl.ts';
import type { NormOp, NormShape } from './contract.ts';

/** @param operands numbers by name, of those that are there */
export function normWgsl(
  op: NormOp,
  { rows, n, skipRows }: NormShape,
  operands: Readonly<Record<string, number>>,
): WgslCall {
  const id = `norm_${op.kind}_${Object.keys(operands).join('_')}`;
  const epsilon = f32Bits(op.epsilon);
  return {
    id,
    operands,
    params: { rows, n, skipRows, epsilon },
    code: () => normCode(op.kind, new Set(Object.keys(operands))),
    workgroups: rows,
  };
}

function normCode(kind: NormOp['kind'], has: ReadonlySet<string>): string {
  const isLayer = kind === 'layer';
  const added = [
    ...(has.has('skip') ? [' + skip((row % p.skipRows) * p.n + k)'] : []),
    ...(has.has('skipBias') ? [' + skipBias(k)'] : []),
  ].join('');
  // What `sum` holds is not added again: x may lie there.
  const z = has.has('sum') ? 'sum(row * p.n + k)' : 'z(row, k)';
  const each = (body: string) => `for (var k = lid; k < p.n; k += ${THREADS}u) {\n    ${body}\n  }`;
  return withoutEmptyLines(`
const INFINITY_BITS = 0x7f800000u;
var<workgroup> partial: array<f32, ${THREADS}>;
var<workgroup> most: atomic<u32>;

fn z(row: u32, k: u32) -> f32 { return x(row * p.n + k)${added}; }

fn total(lid: u32, value: f32) -> f32 {
  workgroupBarrier(); // the last total has been read
  partial[lid] = value;
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    if (lid < half) { partial[lid] += partial[lid + half]; }
    workgroupBarrier();
  }
  return partial[0];
}

@compute @workgroup_size(${THREADS}) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  ${LINEAR_ID}
  let row = id;
  if (row >= p.rows) { return; }
  let n = f32(p.n);
  var largest = 0u;
  var own = 0.0;
  ${each(`let value = z(row, k);
    largest = max(largest, bitcast<u32>(value) & 0x7fffffffu);
    ${has.has('sum') ? 'set_sum(row * p.n + k, value);' : ''}
    own += ${isLayer ? 'value' : 'value * value'};`)}
  atomicMax(&most, largest);
  ${
    isLayer
      ? `let center = total(lid, own) / n;
  own = 0.0;
  ${each(`let d = ${z} - center;
    own += d * d;`)}`
      : ''
  }
  let inverse = inverseSqrt(total(lid, own) / n + bitcast<f32>(p.epsilon));
  let top = atomicLoad(&most);
  let isNaN = top > INFINITY_BITS${isLayer ? ' || top == INFINITY_BITS' : ''};
  let factor = select(inverse, 0.0, top == INFINITY_BITS);
  if (lid == 0u) {
    ${has.has('mean') ? `set_mean(row, asNaN(center, isNaN));` : ''}
    ${has.has('invStdDev') ? `set_invStdDev(row, asNaN(factor, isNaN));` : ''}
  }
  ${each(`let value = ${z};
    let isInfinite = (bitcast<u32>(value) & 0x7fffffffu) == INFINITY_BITS;
    let d = select(value${isLayer ? ' - center' : ''}, 0.0, isInfinite);
    let y = d * factor${has.has('scale') ? ' * scale(k)' : ''}${has.has('bias') ? ' + bias(k)' : ''};
    set_y(row * p.n + k, asNaN(y, isNaN || isInfinite));`)}
}

fn asNaN(value: f32, isNaN: bool) -> f32 { return bitcast<f32>(select(bitcast<u32>(value), ${NAN_BITS}, isNaN)); }
`);
}
