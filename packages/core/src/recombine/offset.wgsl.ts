/**
 * offset_f32: adds to a product the effect of a constant in every weight. WGSL.
 *
 *   y[m,n] += offset · Σ_k x[m,k]                     NaN stays what it was
 *
 * One workgroup per row: 64 partial sums, which every thread adds up for itself.
 */
import { LINEAR_ID, NAN_BITS, paramsOf, THREADS, type WgslKernel } from '../wgsl/wgsl.ts';

export const OFFSET_PARAMS = ['M', 'K', 'N', 'xAt', 'yAt', 'offset'] as const;

export const OFFSET_ID = 'offset_f32';

export const wgslOffset = (): WgslKernel => ({
  id: OFFSET_ID,
  code: `// ${OFFSET_ID}
${paramsOf(OFFSET_PARAMS)}
@group(0) @binding(1) var<storage, read> x: array<f32>;        // [M,K]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;  // f32 [M,N]
var<workgroup> partial: array<f32, ${THREADS}>;

@compute @workgroup_size(${THREADS}) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  ${LINEAR_ID}
  if (id >= p.M) { return; }
  var own = 0.0;
  for (var k = lid; k < p.K; k += ${THREADS}u) { own += x[p.xAt + id * p.K + k]; }
  partial[lid] = own;
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < ${THREADS}u; i++) { sum += partial[i]; }
  let term = bitcast<f32>(p.offset) * sum;
  for (var n = lid; n < p.N; n += ${THREADS}u) {
    let at = p.yAt + id * p.N + n;
    let bits = y[at];
    y[at] = select(bitcast<u32>(bitcast<f32>(bits) + term), bits, bits == ${NAN_BITS});
  }
}
`,
  buffers: ['read', 'write'],
});
