fn isNaN(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn areNumbers(a: f32, b: f32) -> bool { return !isNaN(a) && !isNaN(b); }
@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
let id = group.x + group.y * groups.x;
let thread = 64u * id + lid;
if (4u * thread >= p.count) { return; }
var four0 = 0u;
for (var j = 0u; j < 4u; j++) {
let i = 4u * thread + j;
if (i >= p.count) { break; }
var rest = i;
let c2 = rest % p.n2; rest /= p.n2;
let c1 = rest % p.n1; rest /= p.n1;
let c0 = rest % p.n0;
let x0 = in0(c0 * p.s0_0 + c1 * p.s0_1 + c2 * p.s0_2);
let x1 = in1(c0 * p.s1_0 + c1 * p.s1_1 + c2 * p.s1_2);
let t0 = x0 < x1 && areNumbers(x0, x1);
let t1 = select(x1, x0, t0);
four0 |= select(0u, 1u, t0) << (8u * j);
set_out1(i, t1);
}
set_out0(thread, four0);
}
