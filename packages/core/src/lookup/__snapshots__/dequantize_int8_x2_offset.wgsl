// dequantize_int8_x2_offset
struct Params { rows: u32, columns: u32, count: u32, wAt: u32, yAt: u32, indicesAt: u32, idsAt: u32, idCount: u32, K: u32, panels: u32, channelScales: u32, planeVecs: u32, offset: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<vec4u>;  // packed [N,K]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;  // f32 [count, columns]
fn codes(v0: vec4u, v1: vec4u, v2: vec4u, v3: vec4u, g: u32) -> vec4u {
  let odd = (g & 1u) == 1u;
  return select(select(v0, v1, odd), select(v2, v3, odd), g >= 2u) ^ vec4u(0x80808080u); // q + 128 is stored
}
// Index of the head of the span that k lies in.
fn headOf(panel: u32, k: u32) -> u32 {
  let kBlock = k / 256u;
  let kCount = min(p.K - kBlock * 256u, 256u);
  let panelVecs = ((kCount + 255u) / 256u) * 0u + (kCount / 4u) * 4u;
  return p.wAt + kBlock * p.panels * 256u + panel * panelVecs + ((k % 256u) / 256u) * 256u;
}
fn plane(n: u32, k: u32, at: u32) -> vec4f {
  let panel = n / 16u;
  let group = (n % 16u) / 4u;
  let head = headOf(panel, k) + at;
  let step = head + 0u + ((k) % 256u) / 4u * 4u;
  let v0 = w[step + 0u]; let v1 = w[step + 1u]; let v2 = w[step + 2u]; let v3 = w[step + 3u];
  let word = codes(v0, v1, v2, v3, group)[n % 4u];
  let q = vec4i(i32(word << 24u) >> 24u, i32(word << 8u) >> 24u, i32(word << 16u) >> 24u, i32(word << 0u) >> 24u);
  return vec4f(q) * bitcast<f32>(w[p.wAt + at + p.channelScales + 4u * panel + group][n % 4u]);
}
fn quad(n: u32, k: u32) -> vec4u {
  return bitcast<vec4u>((plane(n, k, 0u) + plane(n, k, p.planeVecs)) + bitcast<f32>(p.offset));
}
@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  let id = group.x + group.y * groups.x;
  let thread = 64u * id + lid;
  let row = thread % p.count; // neighbours write neighbouring n
  let k = 4u * (thread / p.count);
  if (k >= p.columns) { return; }
  let four = quad(row, k);
  for (var j = 0u; j < 4u && k + j < p.columns; j++) {
    y[p.yAt + (k + j) * p.count + row] = four[j];
  }
}
