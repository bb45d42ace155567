// offset_f32
struct Params { M: u32, K: u32, N: u32, xAt: u32, yAt: u32, offset: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;        // [M,K]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;  // f32 [M,N]
var<workgroup> partial: array<f32, 64>;

@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lid: u32,
) {
  let id = group.x + group.y * groups.x;
  if (id >= p.M) { return; }
  var own = 0.0;
  for (var k = lid; k < p.K; k += 64u) { own += x[p.xAt + id * p.K + k]; }
  partial[lid] = own;
  workgroupBarrier();
  var sum = 0.0;
  for (var i = 0u; i < 64u; i++) { sum += partial[i]; }
  let term = bitcast<f32>(p.offset) * sum;
  for (var n = lid; n < p.N; n += 64u) {
    let at = p.yAt + id * p.N + n;
    let bits = y[at];
    y[at] = select(bitcast<u32>(bitcast<f32>(bits) + term), bits, bits == 0x7fc00000u);
  }
}
