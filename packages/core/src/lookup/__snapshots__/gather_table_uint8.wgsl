// gather_table_uint8
struct Params { rows: u32, columns: u32, count: u32, wAt: u32, yAt: u32, indicesAt: u32, idsAt: u32, idCount: u32, scalesAt: u32, scale: u32, min: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;  // codes [rows, columns], scales f32 [rows]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;  // f32 [count, columns]
@group(0) @binding(3) var<storage, read> indices: array<i32>;  // [count]
@group(0) @binding(4) var<storage, read> real: array<u32>;  // f32 [256]
fn valueOf(n: u32, k: u32) -> u32 {
  let i = n * p.columns + k;
  let code = (w[p.wAt + i / 4u] >> (8u * (i % 4u))) & 255u;
  return real[code];
}
fn quad(n: u32, k: u32) -> vec4u {
  return vec4u(valueOf(n, k), valueOf(n, k + 1u), valueOf(n, k + 2u), valueOf(n, k + 3u));
}
@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  let id = group.x + group.y * groups.x;
  let thread = 64u * id + lid;
  let quads = (p.columns + 3u) / 4u;
  let row = thread / quads;
  let k = 4u * (thread % quads);
  if (row >= p.count) { return; }
  var four = vec4u(0u);
  let n = u32(indices[p.indicesAt + row]); // a negative one is past all rows
  if (n < p.rows) { four = quad(n, k); }
  for (var j = 0u; j < 4u && k + j < p.columns; j++) {
    y[p.yAt + row * p.columns + k + j] = four[j];
  }
}
