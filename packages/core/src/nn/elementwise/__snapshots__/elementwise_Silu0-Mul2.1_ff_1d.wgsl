
@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
let id = group.x + group.y * groups.x;
let thread = 64u * id + lid;
let i = thread;
if (i >= p.count) { return; }
var rest = i;
let c0 = rest % p.n0;
let x0 = in0(c0 * p.s0_0);
let x1 = in1(c0 * p.s1_0);
let t0 = abs(x0);
let t1 = bitcast<f32>(0x0u) - t0;
let t2 = select(t1, bitcast<f32>(0xc2e00000u), t1 < bitcast<f32>(0xc2e00000u));
let t3 = t2 * bitcast<f32>(0x3fb8aa3bu);
let t4 = round(t3);
let t5 = t4 * bitcast<f32>(0x3f318000u);
let t6 = t2 - t5;
let t7 = t4 * bitcast<f32>(0xb95e8083u);
let t8 = t6 - t7;
let t9 = t8 * t8;
let t10 = bitcast<f32>(0x3ab68afcu) * t8;
let t11 = t10 + bitcast<f32>(0x3c09082eu);
let t12 = t11 * t8;
let t13 = t12 + bitcast<f32>(0x3d2aaa8bu);
let t14 = t13 * t8;
let t15 = t14 + bitcast<f32>(0x3e2aaa6cu);
let t16 = t15 * t8;
let t17 = t16 + bitcast<f32>(0x3f000000u);
let t18 = t9 * t17;
let t19 = t18 + t8;
let t20 = t19 + bitcast<f32>(0x3f800000u);
let t21 = t4 * bitcast<f32>(0x3f000000u);
let t22 = round(t21);
let t23 = t4 - t22;
let t24 = bitcast<f32>((i32(t23) + 127) << 23u);
let t25 = select(bitcast<f32>(0x0u), t24, bitcast<f32>(0xc2e00000u) < t2);
let t26 = bitcast<f32>((i32(t22) + 127) << 23u);
let t27 = t20 * t26;
let t28 = t27 * t25;
let t29 = t28 + bitcast<f32>(0x3f800000u);
let t30 = select(x0, bitcast<f32>(0xc2e00000u), x0 < bitcast<f32>(0xc2e00000u));
let t31 = t30 * t27;
let t32 = select(x0, t31, x0 < bitcast<f32>(0x0u));
let t33 = t32 / t29;
let t34 = select(bitcast<f32>(0x3f800000u), t25, x0 < bitcast<f32>(0x0u));
let t35 = t33 * t34;
let t36 = t35 * x1;
set_out0(i, t36);
}
