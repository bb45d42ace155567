// segment_mean_table_float16
struct Params { rows: u32, columns: u32, count: u32, wAt: u32, yAt: u32, indicesAt: u32, idsAt: u32, idCount: u32, scalesAt: u32, scale: u32, min: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> w: array<u32>;  // codes [rows, columns], scales f32 [rows]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;  // f32 [count, columns]
@group(0) @binding(3) var<storage, read> indices: array<i32>;  // [idCount]
@group(0) @binding(4) var<storage, read> ids: array<i32>;  // [idCount]
fn widened(half: u32) -> u32 {
  let m = half & 0x7fffu;
  let isFinite = m < 0x7c00u;
  let normal = select((m << 13u) | 0x7f800000u, (m << 13u) + 0x38000000u, isFinite);
  return select(normal, bitcast<u32>(f32(m) * 0x1p-24f), m < 0x400u) | ((half & 0x8000u) << 16u);
}
fn valueOf(n: u32, k: u32) -> u32 {
  let i = n * p.columns + k;
  let code = (w[p.wAt + i / 2u] >> (16u * (i % 2u))) & 65535u;
  return widened(code);
}
fn quad(n: u32, k: u32) -> vec4u {
  return vec4u(valueOf(n, k), valueOf(n, k + 1u), valueOf(n, k + 2u), valueOf(n, k + 3u));
}
// The first i with ids[i] ≥ id.
fn firstOf(id: u32) -> u32 {
  var low = 0u;
  var high = p.idCount;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (u32(ids[p.idsAt + middle]) < id) { low = middle + 1u; } else { high = middle; }
  }
  return low;
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
  var sum = vec4f(0.0);
  let begin = firstOf(row);
  let end = firstOf(row + 1u);
  for (var i = begin; i < end; i++) {
    let n = u32(indices[p.indicesAt + i]); // a negative one is past all rows
    if (n < p.rows) { sum += bitcast<vec4f>(quad(n, k)); }
  }
  sum /= f32(max(end - begin, 1u));
  let four = bitcast<vec4u>(sum);
  for (var j = 0u; j < 4u && k + j < p.columns; j++) {
    y[p.yAt + row * p.columns + k + j] = four[j];
  }
}
