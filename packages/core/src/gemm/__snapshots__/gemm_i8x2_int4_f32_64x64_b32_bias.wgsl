// gemm_i8x2_int4_f32_64x64_b32_bias
requires packed_4x8_integer_dot_product;
struct Params { M: u32, N: u32, K: u32, panels: u32, wAt: u32, channelScales: u32, blocks: u32, rowWords: u32, yAt: u32, yStride: u32, biasAt: u32, multiplyAt: u32, residualAt: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> digits: array<vec4u>;    // [2][M/4][K/4][4], four k in a word
@group(0) @binding(2) var<storage, read> scales: array<vec4u>;    // f32 [M/4][blocks][4]
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
// Byte by byte, both below 128: the top bit keeps borrows inside the byte.
fn withoutZero(bytes: vec4u, zero: vec4i) -> vec4u {
  let top = vec4u(0x80808080u);
  return ((bytes | top) - bitcast<vec4u>(zero) * 0x01010101u) ^ top;
}
var<workgroup> xTile: array<vec4u, 512>; // [digits][k/4][rows/4]
var<workgroup> wTile: array<vec4u, 256>; // [k/4][columns/4]
@compute @workgroup_size(256) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  let id = group.x + group.y * groups.x;
  let tilesM = (p.M + 63u) / 64u;
  let tilesN = (p.panels + 3u) / 4u;
  if (id >= tilesM * tilesN) { return; }
  let words = p.K / 4u;
  let lastGroup = (p.M + 3u) / 4u - 1u;
  let firstGroup = (id % tilesM) * 16u;
  let firstPanel = (id / tilesM) * 4u;
  // Neighbouring threads take neighbouring columns.
  let column = lid % 16u;
  let row = lid / 16u;
  let panelOf = min(firstPanel + column / 4u, p.panels - 1u);
  let groupOf = column % 4u;
  let rowGroup = min(firstGroup + row, lastGroup);
  var a0_0 = vec4i(0);
  var a0_1 = vec4i(0);
  var a0_2 = vec4i(0);
  var a0_3 = vec4i(0);
  var a1_0 = vec4i(0);
  var a1_1 = vec4i(0);
  var a1_2 = vec4i(0);
  var a1_3 = vec4i(0);
  var y0 = vec4f(0.0); var t0 = vec4f(0.0);
  var y1 = vec4f(0.0); var t1 = vec4f(0.0);
  var y2 = vec4f(0.0); var t2 = vec4f(0.0);
  var y3 = vec4f(0.0); var t3 = vec4f(0.0);
  var nan = vec4<bool>(false);
  for (var k0 = 0u; k0 < p.K; k0 += 256u) {
    let kEnd = min(k0 + 256u, p.K);
    for (var kt = k0; kt < kEnd; kt += 64u) {
      workgroupBarrier();
      for (var i = lid; i < 256u; i += 256u) {
        let word = kt / 4u + i % 16u;
        let source = min(firstGroup + i / 16u, lastGroup) * words + word;
        let to = (i % 16u) * 16u + i / 16u;
        xTile[to] = select(vec4u(0u), digits[source], word < words);
        xTile[256u + to] = select(vec4u(0u), digits[p.rowWords + source], word < words);
      }
      for (var i = lid; i < 256u; i += 256u) {
        let k = kt + 4u * (i / 16u);
        var unpacked = vec4u(0u);
        if (k < kEnd) {
          let panel = min(firstPanel + (i / 4u) % 4u, p.panels - 1u);
          let head = headOf(panel, k);
          let at = head + 4u + ((k) % 32u) / 4u * 2u;
          let v0 = w[at + 0u]; let v1 = w[at + 1u];
          unpacked = codes(v0, v1, i % 4u);
          unpacked = withoutZero(unpacked, zeroCodes(head, i % 4u));
        }
        wTile[i] = unpacked;
      }
      workgroupBarrier();
      for (var kc = kt; kc < min(kt + 64u, kEnd); kc += 32u) {
        for (var i = (kc - kt) / 4u; i < (kc - kt) / 4u + 8u; i++) {
          let column4 = wTile[i * 16u + column];
          let x0 = xTile[i * 16u + row];
          let x1 = xTile[256u + i * 16u + row];
          a0_0 += dots(x0[0], column4);
          a0_1 += dots(x0[1], column4);
          a0_2 += dots(x0[2], column4);
          a0_3 += dots(x0[3], column4);
          a1_0 += dots(x1[0], column4);
          a1_1 += dots(x1[1], column4);
          a1_2 += dots(x1[2], column4);
          a1_3 += dots(x1[3], column4);
        }
        {
          let head = headOf(panelOf, kc);
          let wScale = blockScales(head, groupOf);
          t0 += vec4f(254 * a0_0 + a1_0) * wScale;
          t1 += vec4f(254 * a0_1 + a1_1) * wScale;
          t2 += vec4f(254 * a0_2 + a1_2) * wScale;
          t3 += vec4f(254 * a0_3 + a1_3) * wScale;
          a0_0 = vec4i(0);
          a0_1 = vec4i(0);
          a0_2 = vec4i(0);
          a0_3 = vec4i(0);
          a1_0 = vec4i(0);
          a1_1 = vec4i(0);
          a1_2 = vec4i(0);
          a1_3 = vec4i(0);
        }
      }
    }
    let bits = scales[rowGroup * p.blocks + k0 / 256u];
    nan = nan | (bits == vec4u(0x7fc00000u));
    let xScale = bitcast<vec4f>(bits);
    y0 += t0 * xScale[0]; t0 = vec4f(0.0);
    y1 += t1 * xScale[1]; t1 = vec4f(0.0);
    y2 += t2 * xScale[2]; t2 = vec4f(0.0);
    y3 += t3 * xScale[3]; t3 = vec4f(0.0);
  }
  let m = 4u * (firstGroup + row);
  let n = 64u * (id / tilesM) + 4u * column;
  finish(m + 0u, n, y0, nan[0]);
  finish(m + 1u, n, y1, nan[1]);
  finish(m + 2u, n, y2, nan[2]);
  finish(m + 3u, n, y3, nan[3]);
}
