// gemv_i8x2_int4_f32_1x16_b32_bias_sg
enable subgroups;
requires packed_4x8_integer_dot_product;
requires subgroup_id;
struct Params { M: u32, N: u32, K: u32, panels: u32, wAt: u32, channelScales: u32, blocks: u32, rowWords: u32, yAt: u32, yStride: u32, biasAt: u32, multiplyAt: u32, residualAt: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> digits: array<u32>;    // [2][M/1][K/4][1], four k in a word
@group(0) @binding(2) var<storage, read> scales: array<u32>;    // f32 [M/1][blocks][1]
@group(0) @binding(3) var<storage, read> w: array<vec4u>;        // [K/256][panels][head, then steps of 16 rows x 4 k]
@group(0) @binding(4) var<storage, read_write> y: array<u32>;    // f32 [M, yStride]
@group(0) @binding(5) var<storage, read> bias: array<f32>;  // [N]
fn finish(m: u32, n: u32, sum: vec4f, nan: bool) {
  if (m >= p.M) { return; }
  for (var i = 0u; i < 4u; i++) {
    if (n + i < p.N) {
      let at = p.yAt + m * p.yStride + n + i;
      var value = sum[i] + bias[p.biasAt + n + i];
      y[at] = select(bitcast<u32>(value), 0x7fc00000u, nan);
    }
  }
}
fn dot4(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }
fn nibbles(v0: vec4u, v1: vec4u, g: u32) -> vec4u {
  return (select(v0, v1, g >= 2u) >> vec4u(4u * (g & 1u))) & vec4u(0x0f0f0f0fu);
}
fn codes(v0: vec4u, v1: vec4u, g: u32) -> vec4u { return nibbles(v0, v1, g); }
fn blockScales(head: u32, g: u32) -> vec4f { return bitcast<vec4f>(w[head + g]); }
fn zeroCodes(head: u32, g: u32) -> vec4i {
  return vec4i(8);
}
// Index of the head of the span that k lies in.
fn headOf(panel: u32, k: u32) -> u32 {
  let kBlock = k / 256u;
  let kCount = min(p.K - kBlock * 256u, 256u);
  let panelVecs = ((kCount + 31u) / 32u) * 4u + (kCount / 4u) * 2u;
  return p.wAt + kBlock * p.panels * 160u + panel * panelVecs + ((k % 256u) / 32u) * 20u;
}
fn isNan(bits: u32) -> bool { return bits == 0x7fc00000u; }
fn dots(x: u32, w: vec4u) -> vec4i { return vec4i(dot4(x, w.x), dot4(x, w.y), dot4(x, w.z), dot4(x, w.w)); }
var<workgroup> partial: array<vec4f, 64>;
fn reduce(lid: u32, subgroup: u32, subgroups: u32, t0: vec4f, t1: vec4f, t2: vec4f, t3: vec4f) -> vec4f {
  let s0 = subgroupAdd(t0);
  let s1 = subgroupAdd(t1);
  let s2 = subgroupAdd(t2);
  let s3 = subgroupAdd(t3);
  if (subgroupElect()) {
    partial[subgroup * 4u + 0u] = s0;
    partial[subgroup * 4u + 1u] = s1;
    partial[subgroup * 4u + 2u] = s2;
    partial[subgroup * 4u + 3u] = s3;
  }
  workgroupBarrier();
  var sum = vec4f(0.0);
  if (lid < 4u) { for (var s = 0u; s < subgroups; s++) { sum += partial[s * 4u + lid]; } }
  workgroupBarrier();
  return sum;
}
@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
) {
  let id = group.x + group.y * groups.x;
  if (id >= p.panels) { return; }
  var y0_0 = vec4f(0.0);
  var y0_1 = vec4f(0.0);
  var y0_2 = vec4f(0.0);
  var y0_3 = vec4f(0.0);
  for (var k = 8u * lid; k < p.K; k += 512u) {
    let head = headOf(id, k);
    let step = head + 4u + ((k) % 32u) / 4u * 2u;
    let word = k / 4u;
    var a0_0_0 = vec4i(0);
    var a0_0_1 = vec4i(0);
    var a0_0_2 = vec4i(0);
    var a0_0_3 = vec4i(0);
    var a1_0_0 = vec4i(0);
    var a1_0_1 = vec4i(0);
    var a1_0_2 = vec4i(0);
    var a1_0_3 = vec4i(0);
    var sum0 = 0;
    for (var i = 0u; i < 2u; i++) {
      let v0 = w[step + 2u * i + 0u]; let v1 = w[step + 2u * i + 1u];
      let d0 = digits[word + i];
      let d1 = digits[p.rowWords + word + i];
      let w0 = codes(v0, v1, 0u);
      a0_0_0 += dots(d0, w0);
      a1_0_0 += dots(d1, w0);
      let w1 = codes(v0, v1, 1u);
      a0_0_1 += dots(d0, w1);
      a1_0_1 += dots(d1, w1);
      let w2 = codes(v0, v1, 2u);
      a0_0_2 += dots(d0, w2);
      a1_0_2 += dots(d1, w2);
      let w3 = codes(v0, v1, 3u);
      a0_0_3 += dots(d0, w3);
      a1_0_3 += dots(d1, w3);
      sum0 += 254 * dot4(d0, 0x01010101u) + dot4(d1, 0x01010101u);
    }
    let xScale = bitcast<f32>(scales[(k) / 256u]);
    let wScale0 = blockScales(head, 0u);
    let wScale1 = blockScales(head, 1u);
    let wScale2 = blockScales(head, 2u);
    let wScale3 = blockScales(head, 3u);
    let z0 = zeroCodes(head, 0u);
    let z1 = zeroCodes(head, 1u);
    let z2 = zeroCodes(head, 2u);
    let z3 = zeroCodes(head, 3u);
    y0_0 += (vec4f(254 * a0_0_0 + a1_0_0 - z0 * sum0) * wScale0) * xScale;
    y0_1 += (vec4f(254 * a0_0_1 + a1_0_1 - z1 * sum0) * wScale1) * xScale;
    y0_2 += (vec4f(254 * a0_0_2 + a1_0_2 - z2 * sum0) * wScale2) * xScale;
    y0_3 += (vec4f(254 * a0_0_3 + a1_0_3 - z3 * sum0) * wScale3) * xScale;
  }
  let r0 = reduce(lid, subgroup, subgroups, y0_0, y0_1, y0_2, y0_3);
  var nan0 = false;
  if (lid < 4u) {
    for (var b = 0u; b < p.blocks; b++) { nan0 |= isNan(scales[b]); }
    finish(0u, 16u * id + 4u * lid, r0, nan0);
  }
}
