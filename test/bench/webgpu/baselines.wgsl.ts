/** What MSD's kernels are measured against on the same device: its own limits, and the kernel that everybody writes first. */

/** Chains of dot products per thread that do not wait for each other. */
const CHAINS = 16;
export const DOT_STEPS = 1024;
export const DOT_THREADS = 64;
/** Multiply-accumulates of one thread. */
export const DOT_MACS = 4 * CHAINS * DOT_STEPS;

const each = (line: (i: number) => string) => Array.from({ length: CHAINS }, (_, i) => line(i)).join('\n');

/** As many dot4I8Packed as the device can issue. Every chain depends on the input and reaches the output: nothing is left out. */
export const dotRate = (): string => `requires packed_4x8_integer_dot_product;
@group(0) @binding(0) var<storage, read_write> out: array<i32>;
@compute @workgroup_size(${DOT_THREADS}) fn main(@builtin(global_invocation_id) g: vec3u) {
  var x = u32(out[g.x]) + g.x * 0x01010101u;
${each((i) => `  var a${i} = ${i};`)}
  for (var s = 0u; s < ${DOT_STEPS}u; s++) {
${each((i) => `    a${i} += dot4I8Packed(x + ${i}u, x);`)}
    x += u32(a0);
  }
  out[g.x] = ${Array.from({ length: CHAINS }, (_, i) => `a${i}`).join(' + ')};
}`;

/** Copies vec4f as fast as a shader can. */
export const copyKernel = (): string => `
@group(0) @binding(0) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@compute @workgroup_size(256) fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) i: u32) {
  let at = (w.x + w.y * n.x) * 256u + i;
  if (at < arrayLength(&out)) { out[at] = x[at]; }
}`;

/**
 * y = x · Wᵀ with int4 weights in blocks of 32 as ONNX stores them, zero point 8: one thread per result turns each code into a float
 * and multiplies. Readable, and what a shader looks like before anybody tunes it.
 */
export const dequantizeKernel = (M: number, N: number, K: number): string => `
@group(0) @binding(0) var<storage, read_write> y: array<f32>;  // [M,N]
@group(0) @binding(1) var<storage, read> x: array<f32>;        // [M,K]
@group(0) @binding(2) var<storage, read> w: array<u32>;        // [N,K/8], eight codes in a word
@group(0) @binding(3) var<storage, read> scales: array<f32>;   // [N,K/32]
const M = ${M}u; const N = ${N}u; const K = ${K}u;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) g: vec3u) {
  let n = g.x;
  let m = g.y;
  if (n >= N) { return; }
  var sum = 0.0;
  for (var word = 0u; word < K / 8u; word++) {
    let codes = w[n * (K / 8u) + word];
    let scale = scales[n * (K / 32u) + word / 4u];
    for (var i = 0u; i < 8u; i++) {
      let weight = scale * (f32((codes >> (4u * i)) & 15u) - 8.0);
      sum += weight * x[m * K + 8u * word + i];
    }
  }
  y[m * N + n] = sum;
}`;
