fn isNaN(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn areNumbers(a: f32, b: f32) -> bool { return !isNaN(a) && !isNaN(b); }
fn toInt(x: f32) -> i32 { return select(select(i32(clamp(x, -2147483648.0, 2147483520.0)), 2147483647, x >= 2147483648.0), 0, isNaN(x)); }
fn lookUp(low: u32, high: u32, at: u32) -> i32 {
  let shift = 8u * (at & 3u);
  return bitcast<i32>((low >> shift) | select(high << (32u - shift), 0u, shift == 0u));
}
var<private> table10430: array<u32, 9> = array<u32, 9>(1491793838u, 3826286484u, 2774945552u, 930100952u, 3589569869u, 88768265u, 1625002897u, 10430u, 0u);
fn mulHigh(a: i32, b: i32) -> i32 {
  let x = vec2u(bitcast<u32>(a) & 0xffffu, bitcast<u32>(a) >> 16u);
  let y = vec2u(bitcast<u32>(b) & 0xffffu, bitcast<u32>(b) >> 16u);
  let middle = x.y * y.x + ((x.x * y.x) >> 16u);
  return bitcast<i32>(x.y * y.y + (middle >> 16u) + ((x.x * y.y + (middle & 0xffffu)) >> 16u));
}
var<private> nanBits: u32 = 0x7fc00000u;
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
let t0 = x0 * bitcast<f32>(0x3f22f983u);
let t1 = round(t0);
let t2 = t1 * bitcast<f32>(0x3fc90000u);
let t3 = x0 - t2;
let t4 = bitcast<f32>(bitcast<u32>(t3) | (p.count >> 31u));
let t5 = t1 * bitcast<f32>(0x39fda000u);
let t6 = t4 - t5;
let t7 = bitcast<f32>(bitcast<u32>(t6) | (p.count >> 31u));
let t8 = t1 * bitcast<f32>(0x33a22000u);
let t9 = t7 - t8;
let t10 = bitcast<f32>(bitcast<u32>(t9) | (p.count >> 31u));
let t11 = t1 * bitcast<f32>(0x2c346000u);
let t12 = t10 - t11;
let t13 = bitcast<f32>(bitcast<u32>(t12) | (p.count >> 31u));
let t14 = t1 * bitcast<f32>(0x248d3132u);
let t15 = t13 - t14;
let t16 = bitcast<f32>(bitcast<u32>(t15) | (p.count >> 31u));
let t17 = abs(x0);
let t18 = bitcast<f32>(0x46490992u) < t17 && areNumbers(bitcast<f32>(0x46490992u), t17);
let t19 = toInt(t1);
var t20 = t19;
var t21 = t16;
if (t18) {
let t22 = bitcast<i32>(x0);
let t23 = bitcast<i32>(bitcast<u32>(t22) >> 23u);
let t24 = t23 & bitcast<i32>(0xffu);
let t25 = t24 - bitcast<i32>(0x86u);
let t26 = t22 & bitcast<i32>(0x7fffffu);
let t27 = t26 | bitcast<i32>(0x800000u);
let t28 = t25 & bitcast<i32>(0x7u);
let t29 = f32(t28);
let t30 = bitcast<f32>((i32(t29) + 127) << 23u);
let t31 = toInt(t30);
let t32 = t27 * t31;
let t33 = bitcast<i32>(bitcast<u32>(t25) >> 3u);
let t34 = bitcast<i32>(0x18u) - t33;
let t35 = u32(t34);
let t36 = lookUp(table10430[t35 / 4u], table10430[t35 / 4u + 1u], t35);
let t37 = bitcast<i32>(0x14u) - t33;
let t38 = u32(t37);
let t39 = lookUp(table10430[t38 / 4u], table10430[t38 / 4u + 1u], t38);
let t40 = mulHigh(t32, t39);
let t41 = t32 * t36;
let t42 = t41 + t40;
let t43 = t42 ^ bitcast<i32>(0x80000000u);
let t44 = t40 ^ bitcast<i32>(0x80000000u);
let t45 = t43 < t44;
let t46 = select(0, 1, t45);
let t47 = bitcast<i32>(0x1cu) - t33;
let t48 = u32(t47);
let t49 = lookUp(table10430[t48 / 4u], table10430[t48 / 4u + 1u], t48);
let t50 = t32 * t49;
let t51 = mulHigh(t32, t36);
let t52 = t50 + t51;
let t53 = t52 + t46;
let t54 = t53 + bitcast<i32>(0x20000000u);
let t55 = bitcast<i32>(bitcast<u32>(t54) >> 30u);
let t56 = t55 << 30u;
let t57 = t53 - t56;
let t58 = t57 >> 31u;
let t59 = t57 ^ t58;
let t60 = t42 ^ t58;
let t61 = t60 & bitcast<i32>(0xffffu);
let t62 = f32(t61);
let t63 = t62 * bitcast<f32>(0x1f800000u);
let t64 = bitcast<i32>(bitcast<u32>(t60) >> 16u);
let t65 = f32(t64);
let t66 = t65 * bitcast<f32>(0x27800000u);
let t67 = t59 & bitcast<i32>(0xffffu);
let t68 = f32(t67);
let t69 = t68 * bitcast<f32>(0x2f800000u);
let t70 = bitcast<i32>(bitcast<u32>(t59) >> 16u);
let t71 = f32(t70);
let t72 = t71 * bitcast<f32>(0x37800000u);
let t73 = t63 + t66;
let t74 = t73 + t69;
let t75 = t74 + t72;
let t76 = t75 * bitcast<f32>(0x40c90fdbu);
let t77 = t22 < bitcast<i32>(0x0u);
let t78 = select(bitcast<i32>(0x0u), bitcast<i32>(0xffffffffu), t77);
let t79 = t58 ^ t78;
let t80 = bitcast<i32>(0x0u) - t55;
let t81 = select(t55, t80, t77);
let t82 = bitcast<i32>(t76);
let t83 = t79 & bitcast<i32>(0x80000000u);
let t84 = t82 ^ t83;
let t85 = bitcast<f32>(t84);
t20 = t81;
t21 = t85;
}
let t86 = t21 * t21;
let t87 = t86 * t21;
let t88 = bitcast<f32>(0xb94d5ce7u) * t86;
let t89 = t88 + bitcast<f32>(0x3c088606u);
let t90 = t89 * t86;
let t91 = t90 + bitcast<f32>(0xbe2aaaa9u);
let t92 = t87 * t91;
let t93 = t92 + t21;
let t94 = t86 * t86;
let t95 = bitcast<f32>(0x37cde5f0u) * t86;
let t96 = t95 + bitcast<f32>(0xbab6095eu);
let t97 = t96 * t86;
let t98 = t97 + bitcast<f32>(0x3d2aaaaau);
let t99 = t94 * t98;
let t100 = t86 * bitcast<f32>(0xbf000000u);
let t101 = t99 + t100;
let t102 = t101 + bitcast<f32>(0x3f800000u);
let t103 = t20 & bitcast<i32>(0x1u);
let t104 = t103 == bitcast<i32>(0x1u);
let t105 = t20 & bitcast<i32>(0x2u);
let t106 = t105 << 30u;
let t107 = select(t93, t102, t104);
let t108 = bitcast<i32>(t107);
let t109 = t108 ^ t106;
let t110 = bitcast<f32>(t109);
let t111 = abs(x0);
let t112 = t111 < bitcast<f32>(0x39800000u) && areNumbers(t111, bitcast<f32>(0x39800000u));
let t113 = select(t110, x0, t112);
let t114 = bitcast<i32>(x0);
let t115 = t114 & bitcast<i32>(0x7fffffffu);
let t116 = t115 < bitcast<i32>(0x7f800000u);
let t117 = select(bitcast<f32>(nanBits), t113, t116);
set_out0(i, t117);
}
