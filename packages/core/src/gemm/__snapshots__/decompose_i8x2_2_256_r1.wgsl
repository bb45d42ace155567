// decompose_i8x2_2_256_r1
struct Params { M: u32, K: u32, xAt: u32, words: u32, rows: u32, blocks: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;             // f32 [M,K]
@group(0) @binding(2) var<storage, read_write> digits: array<u32>;  // [2][rows/1][words][1]
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;  // f32 [rows/1][blocks][1]
var<workgroup> maxima: array<atomic<u32>, 1>;
fn load(m: u32, k: u32) -> vec4u {
  var bits = vec4u(0u);
  if (m < p.M) {
    let at = p.xAt + m * p.K + k;
    for (var i = 0u; i < 4u; i++) { if (k + i < p.K) { bits[i] = x[at + i]; } }
  }
  return bits;
}
fn largest(bits: vec4u) -> u32 {
  let b = bits & vec4u(0x7fffffffu);
  return max(max(b.x, b.y), max(b.z, b.w));
}
fn quantize(v: vec4f, invScale: f32) -> vec4i {
  return clamp(vec4i(round(v * invScale)), vec4i(-32258), vec4i(32258));
}
fn store(m: u32, word: u32, q: vec4i) {
  let at = ((m / 1u) * p.words + word) * 1u + m % 1u;
  let high = (q + vec4i(127 + 254 * 127)) / vec4i(254) - vec4i(127); // floor((q + 127) / 254)
  let low = q - 254 * high;
  digits[at] = (((u32(high[0]) & 0xffu) << 0u) | ((u32(high[2]) & 0xffu) << 8u) | ((u32(high[1]) & 0xffu) << 16u) | ((u32(high[3]) & 0xffu) << 24u));
  digits[p.rows * p.words + at] = (((u32(low[0]) & 0xffu) << 0u) | ((u32(low[2]) & 0xffu) << 8u) | ((u32(low[1]) & 0xffu) << 16u) | ((u32(low[3]) & 0xffu) << 24u));
}
@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  let id = group.x + group.y * groups.x;
  let kBlocks = (p.words + 63u) / 64u;
  let m = id / kBlocks;
  let g = id % kBlocks;
  if (m >= p.rows) { return; }
  let word = 64u * g + lid;
  let bits = load(m, 4u * word);
  let own = largest(bits);
  atomicMax(&maxima[0u], own);
  workgroupBarrier();
  let most = atomicLoad(&maxima[0u]);
  let S = bitcast<f32>(most) * bitcast<f32>(0x38020610u);
  let isZero = most < 0xd800000u;
  let invScale = 1.0 / select(S, 1.0, isZero);
  let isBad = most > 0x7f7fffffu; // Inf or NaN
  let stored = select(select(bitcast<u32>(S), 0u, isZero), 0x7fc00000u, isBad);
  let isOut = isZero || isBad;
  let block = g;
  if (lid == 0u) {
    scales[((m / 1u) * p.blocks + block) * 1u + m % 1u] = stored;
  }
  if (word < p.words) { store(m, word, select(quantize(bitcast<vec4f>(bits), invScale), vec4i(0), isOut)); }
}
