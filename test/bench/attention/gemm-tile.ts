/** The int8 kernel that products take with 16-bit integers, bare, on weights that lie in the cache: the rate that stages are compared with. */
import type { WasmBackend } from '../../../packages/core/src/backends/wasm/backend.ts';
import type { WasmMatrix } from '../../../packages/core/src/backends/wasm/matrix.ts';
import { resolveDecomposition } from '../../../packages/core/src/decompose/contract.ts';
import { decomposedRow, decomposeSpec } from '../../../packages/core/src/decompose/decompose.wasm.ts';
import { quantizeWeights } from '../../../packages/core/src/formats/quantize.ts';
import { gemmKernel } from '../../../packages/core/src/gemm/gemm.wasm.ts';
import { gemmId, SCRATCH_BYTES } from '../../../packages/core/src/gemm/options.ts';
import { gemmSpec, gemmVariants } from '../../../packages/core/src/gemm/registry.ts';
import { argumentList } from '../../../packages/core/src/kernel-spec.ts';
import { instantiate } from '../../../packages/core/src/wasm/instantiate.ts';
import { kernelOn } from '../../../packages/core/test/kernels.ts';
import { gaussians, random } from '../../../packages/core/test/seeded.ts';

const [K, N] = [256, 896];

/** @param backend whose carrier is i16 */
export function gemmTile(backend: WasmBackend, M: number): { readonly macs: number; readonly run: () => void } {
  const { arena } = backend;
  const next = random(M);
  const matrix = backend.prepare(quantizeWeights(gaussians(next, N * K), { N, K, format: 'int8' })) as WasmMatrix;
  const decomposition = resolveDecomposition({}, 'bench');
  const row = decomposedRow({ decomposition, operands: 'i16' }, K);
  const x = arena.alloc(4 * M * K);
  arena.write(x, gaussians(next, M * K));
  const [q, sums, scale] = [row.q, row.sums, row.scales].map((bytes) => arena.alloc(M * bytes).ptr);
  const decompose = kernelOn(arena.memory, decomposeSpec, { decomposition, operands: 'i16' });
  decompose({ x: x.ptr, q: q!, sums: sums!, scale: scale!, scaleStride: 4 * M, M, K });
  const id = backend.kernelFor(matrix, M);
  const options = [...gemmVariants()].find((each) => gemmId(each) === id)!;
  const { layout, address } = matrix;
  const args = argumentList(gemmSpec, options, {
    x: q!,
    xSums: sums!,
    xScale: scale!,
    w: address,
    wScale: address + layout.panelBytes,
    bias: 0,
    y: arena.alloc(4 * M * N).ptr,
    yStride: 4 * N,
    scratch: arena.alloc(SCRATCH_BYTES).ptr,
    M,
    K,
    panels: layout.panels,
    first: 0,
    count: layout.panels,
  });
  const kernel = instantiate(arena.memory, id, (module) => gemmKernel(module, options));
  return { macs: M * K * N, run: () => kernel(...args) };
}
