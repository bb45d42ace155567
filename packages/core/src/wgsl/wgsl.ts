/** Parts that all WGSL kernels share. */

/** Threads that work on one 256-k block of activations, or on one panel of weights. */
export const THREADS = 64;

/** What the kernels are allowed to use of the device. */
export interface GpuFeatures {
  /** `dot4I8Packed`: otherwise shifts and four multiplications. */
  readonly packedDot: boolean;
  /** Subgroup operations. */
  readonly subgroups: boolean;
}

/** A shader and what it binds: binding 0 is its parameters, then `buffers` in order. */
export interface WgslKernel {
  /** Also the label of the module, the pipeline and the pass. */
  readonly id: string;
  readonly code: string;
  readonly buffers: readonly ('read' | 'write')[];
}

/** Words of a parameter block; kernels read from its start what they need. */
export const PARAM_WORDS = 64;

/** A struct of u32 and the uniform that holds it. */
export const paramsOf = (names: readonly string[]): string =>
  `struct Params { ${names.map((name) => `${name}: u32`).join(', ')} }
@group(0) @binding(0) var<uniform> p: Params;`;

export const enables = (subgroups: boolean, packedDot = false): string =>
  [
    ...(subgroups ? ['enable subgroups;'] : []),
    ...(packedDot ? ['requires packed_4x8_integer_dot_product;'] : []),
    '',
  ].join('\n');

/** Σ over four bytes, signed. What `dot4I8Packed` comes with (`unpack4xI8`) is missing where it is, so shifts are all that is left. */
export const dot4 = (packedDot: boolean): string =>
  packedDot
    ? 'fn dot4(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }'
    : `fn dot4(a: u32, b: u32) -> i32 {
  let shift = vec4u(24u, 16u, 8u, 0u);
  let x = bitcast<vec4i>(vec4u(a) << shift) >> vec4u(24u);
  let y = bitcast<vec4i>(vec4u(b) << shift) >> vec4u(24u);
  return dot(x, y);
}`;

/** Workgroups in a row: more of them than one dimension takes go into the second. */
export const LINEAR_ID = 'let id = group.x + group.y * groups.x;';

export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
export const lines = (count: number, line: (i: number) => string, separator = '\n'): string =>
  range(count).map(line).join(separator);

/** (a + b) + (c + d): of 2ⁿ terms none passes more than n additions. */
export function pairwise(terms: readonly string[]): string {
  if (terms.length === 1) return terms[0];
  const half = Math.ceil(terms.length / 2);
  return `(${pairwise(terms.slice(0, half))} + ${pairwise(terms.slice(half))})`;
}

/** What options left out leaves empty lines behind. */
export const withoutEmptyLines = (code: string): string => code.replace(/\n(\s*\n)+/g, '\n');

export const NAN_BITS = '0x7fc00000u';
