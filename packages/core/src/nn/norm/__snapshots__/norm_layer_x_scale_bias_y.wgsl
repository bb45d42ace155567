
const INFINITY_BITS = 0x7f800000u;
var<workgroup> partial: array<f32, 64>;
var<workgroup> most: atomic<u32>;
fn z(row: u32, k: u32) -> f32 { return x(row * p.n + k); }
fn total(lid: u32, value: f32) -> f32 {
  workgroupBarrier(); // the last total has been read
  partial[lid] = value;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half /= 2u) {
    if (lid < half) { partial[lid] += partial[lid + half]; }
    workgroupBarrier();
  }
  return partial[0];
}
@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  let id = group.x + group.y * groups.x;
  let row = id;
  if (row >= p.rows) { return; }
  let n = f32(p.n);
  var largest = 0u;
  var own = 0.0;
  for (var k = lid; k < p.n; k += 64u) {
    let value = z(row, k);
    largest = max(largest, bitcast<u32>(value) & 0x7fffffffu);
    own += value;
  }
  atomicMax(&most, largest);
  let center = total(lid, own) / n;
  own = 0.0;
  for (var k = lid; k < p.n; k += 64u) {
    let d = z(row, k) - center;
    own += d * d;
  }
  let inverse = inverseSqrt(total(lid, own) / n + bitcast<f32>(p.epsilon));
  let top = atomicLoad(&most);
  let isNaN = top > INFINITY_BITS || top == INFINITY_BITS;
  let factor = select(inverse, 0.0, top == INFINITY_BITS);
  if (lid == 0u) {
  }
  for (var k = lid; k < p.n; k += 64u) {
    let value = z(row, k);
    let isInfinite = (bitcast<u32>(value) & 0x7fffffffu) == INFINITY_BITS;
    let d = select(value - center, 0.0, isInfinite);
    let y = d * factor * scale(k) + bias(k);
    set_y(row * p.n + k, asNaN(y, isNaN || isInfinite));
  }
}
fn asNaN(value: f32, isNaN: bool) -> f32 { return bitcast<f32>(select(bitcast<u32>(value), 0x7fc00000u, isNaN)); }
