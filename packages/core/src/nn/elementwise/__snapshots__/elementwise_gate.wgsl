
fn isNaN(a: f32) -> bool { return (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u; }
fn isNumber(a: f32, b: f32) -> bool { return !isNaN(a) && !isNaN(b); }
fn least(a: f32, b: f32) -> f32 {
  if (isNaN(a)) { return a; }
  return select(select(b, a, a < b), b, isNaN(b));
}
fn most(a: f32, b: f32) -> f32 {
  if (isNaN(a)) { return a; }
  return select(select(b, a, a > b), b, isNaN(b));
}
fn divInt(a: i32, b: i32) -> i32 {
  if (b == 0) { return select(select(0, 0x7fffffff, a > 0), -0x7fffffff - 1, a < 0); }
  if (b == -1) { return select(-a, 0x7fffffff, a == -0x7fffffff - 1); }
  return a / b;
}
fn mulHigh(a: i32, b: i32) -> i32 {
  let x = vec2u(bitcast<u32>(a) & 0xffffu, bitcast<u32>(a) >> 16u);
  let y = vec2u(bitcast<u32>(b) & 0xffffu, bitcast<u32>(b) >> 16u);
  let middle = x.y * y.x + ((x.x * y.x) >> 16u);
  return bitcast<i32>(x.y * y.y + (middle >> 16u) + ((x.x * y.y + (middle & 0xffffu)) >> 16u));
}
fn toInt(a: f32) -> i32 {
  if (isNaN(a)) { return 0; }
  if (a >= 0x1p31f) { return 0x7fffffff; }
  return select(i32(a), -0x7fffffff - 1, a <= -0x1p31f);
}
fn at0(i: u32) -> u32 {
  var rest = i;
  var at = 0u;
  at += (rest % p.dim2) * p.step2_0;
  rest /= p.dim2;
  at += (rest % p.dim1) * p.step1_0;
  rest /= p.dim1;
  return at + rest * p.step0_0;
}
fn at1(i: u32) -> u32 {
  var rest = i;
  var at = 0u;
  at += (rest % p.dim2) * p.step2_1;
  rest /= p.dim2;
  at += (rest % p.dim1) * p.step1_1;
  rest /= p.dim1;
  return at + rest * p.step0_1;
}
fn at2(i: u32) -> u32 {
  var rest = i;
  var at = 0u;
  at += (rest % p.dim2) * p.step2_2;
  rest /= p.dim2;
  at += (rest % p.dim1) * p.step1_2;
  rest /= p.dim1;
  return at + rest * p.step0_2;
}
@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  let id = group.x + group.y * groups.x;
  let first = 4u * (64u * id + lid);
  var four1 = 0u;
  for (var j = 0u; j < 4u && first + j < p.count; j++) {
    let i = first + j;
    let t0 = in0(at0(i));
    let t1 = in1(at1(i));
    let t2 = in2(at2(i));
    let t3 = bitcast<f32>(0x0u);
    let t4 = bitcast<f32>(0x3f800000u);
    let t5 = abs(t0);
    let t6 = t3 - t5;
    let t7 = bitcast<f32>(0xc2e00000u);
    let t8 = select(t6, t7, t6 < t7);
    let t9 = bitcast<f32>(0x3fb8aa3bu);
    let t10 = t8 * t9;
    let t11 = round(t10);
    let t12 = bitcast<f32>(0x3f318000u);
    let t13 = t11 * t12;
    let t14 = t8 - t13;
    let t15 = bitcast<f32>(0xb95e8083u);
    let t16 = t11 * t15;
    let t17 = t14 - t16;
    let t18 = t17 * t17;
    let t19 = bitcast<f32>(0x3ab68afcu);
    let t20 = t19 * t17;
    let t21 = bitcast<f32>(0x3c09082eu);
    let t22 = t20 + t21;
    let t23 = t22 * t17;
    let t24 = bitcast<f32>(0x3d2aaa8bu);
    let t25 = t23 + t24;
    let t26 = t25 * t17;
    let t27 = bitcast<f32>(0x3e2aaa6cu);
    let t28 = t26 + t27;
    let t29 = t28 * t17;
    let t30 = bitcast<f32>(0x3f000000u);
    let t31 = t29 + t30;
    let t32 = t18 * t31;
    let t33 = t32 + t17;
    let t34 = bitcast<f32>(0x3f800000u);
    let t35 = t33 + t34;
    let t36 = bitcast<f32>(0x3f000000u);
    let t37 = t11 * t36;
    let t38 = round(t37);
    let t39 = bitcast<f32>(0xc2e00000u);
    let t40 = t11 - t38;
    let t41 = bitcast<f32>((i32(t40) + 127) << 23u);
    let t42 = bitcast<f32>(0x0u);
    let t43 = select(t42, t41, t39 < t8);
    let t44 = bitcast<f32>((i32(t38) + 127) << 23u);
    let t45 = t35 * t44;
    let t46 = t45 * t43;
    let t47 = t46 + t4;
    let t48 = bitcast<f32>(0xc2e00000u);
    let t49 = select(t0, t48, t0 < t48);
    let t50 = t49 * t45;
    let t51 = select(t0, t50, t0 < t3);
    let t52 = t51 / t47;
    let t53 = select(t4, t43, t0 < t3);
    let t54 = t52 * t53;
    let t55 = t54 * t1;
    let t56 = t2 < t0 && isNumber(t2, t0);
    set_out0(i, t55);
    four1 |= select(0u, 1u << (8u * j), t56);
  }
  if (first < p.count) { set_out1(first / 4u, four1); }
}
