/**
 * Claimed weights: memory is sized from the claims, then each matrix is read, packed and dropped. A file passes through
 * three buffers of the size of its largest matrix; nothing proportional to K·N floats ever exists.
 */

import type { ArenaHandle } from '@msd/core';
import {
  createThreadedBackend,
  type PreparedWeights,
  packedByteLength,
  type QuantizedWeights,
  type WasmBackend,
} from '@msd/core';
import type { Claim } from '../passes/claim.ts';
import { type TensorRef, tensorByteLength, tensorBytes, tensorFloats, tensorRange } from '../read/tensor.ts';
import type { ResolvedOptions } from './options.ts';

/** The weights of one claimed node, resident. */
export interface LoadedWeights {
  readonly prepared: PreparedWeights;
  /** A constant bias in the arena. */
  readonly bias: ArenaHandle | undefined;
}

/** A backend with everything loaded. */
export interface LoadedModel {
  /** The owner disposes it; that gives all weights back. */
  readonly backend: WasmBackend;
  readonly weights: ReadonlyMap<Claim, LoadedWeights>;
  /** Bytes that the claimed weights take in the file. */
  readonly fileBytes: number;
}

/** Row counts whose kernels are made ready: one token, and a prompt. */
const WARM_ROWS = [1, 128] as const;

/**
 * Loads the weights of all claims; nodes that share a matrix share its packed form.
 *
 * @throws `BackendUnavailableError` of @msd/core when the engine has no SIMD or no memory.
 */
export async function loadWeights(claims: readonly Claim[], options: ResolvedOptions): Promise<LoadedModel> {
  const matrices = new Map<string, Claim>();
  for (const claim of claims) if (!matrices.has(keyOf(claim))) matrices.set(keyOf(claim), claim);
  let initialBytes = 0;
  let fileBytes = 0;
  for (const claim of matrices.values()) {
    initialBytes += packedByteLength(claim, claim.zeroPoints !== undefined) + 64;
    for (const tensor of [claim.data, claim.scales, claim.zeroPoints])
      if (tensor) fileBytes += tensorByteLength(tensor);
  }
  const backend = await createThreadedBackend({
    initialBytes,
    debug: options.debug,
    carrier: options.carrier,
    threads: options.threads,
  });
  try {
    const weights = prepareAll(backend, claims, matrices, options);
    return { backend, weights, fileBytes };
  } catch (error) {
    backend.dispose();
    throw error;
  }
}

function prepareAll(
  backend: WasmBackend,
  claims: readonly Claim[],
  matrices: ReadonlyMap<string, Claim>,
  options: ResolvedOptions,
): Map<Claim, LoadedWeights> {
  const data = new Staging([...matrices.values()].map((claim) => claim.data));
  const scales = new Staging([...matrices.values()].map((claim) => claim.scales));
  const zeroPoints = new Staging([...matrices.values()].flatMap((claim) => claim.zeroPoints ?? []));
  const prepared = new Map<string, PreparedWeights>();
  for (const [key, claim] of matrices) {
    const { format, N, K, blockSize } = claim;
    const weights: QuantizedWeights = {
      format,
      N,
      K,
      blockSize,
      data: tensorBytes(claim.data, data.buffer),
      scales: tensorFloats(claim.scales, scales.buffer),
      ...(claim.zeroPoints && { zeroPoints: tensorBytes(claim.zeroPoints, zeroPoints.buffer) }),
    };
    prepared.set(key, backend.prepare(weights));
  }
  for (const matrix of prepared.values()) for (const M of WARM_ROWS) backend.warmUp(matrix, M, options);
  const loaded = new Map<Claim, LoadedWeights>();
  for (const claim of claims) {
    const { bias } = claim;
    loaded.set(claim, {
      prepared: prepared.get(keyOf(claim))!,
      bias: typeof bias === 'object' ? residentBias(backend, bias) : undefined,
    });
  }
  return loaded;
}

/** Claims with equal keys have the same matrix. */
function keyOf({ format, N, K, blockSize, data, scales, zeroPoints }: Claim): string {
  return JSON.stringify([
    format,
    N,
    K,
    blockSize,
    data.name,
    data.proto.offset,
    scales.proto.offset,
    zeroPoints?.proto.offset,
  ]);
}

function residentBias(backend: WasmBackend, bias: TensorRef): ArenaHandle {
  const values = tensorFloats(bias);
  const handle = backend.arena.alloc(values.byteLength, `bias ${bias.name}`);
  backend.arena.float32(handle).set(values);
  return handle;
}

/** One buffer for all tensors of a kind that come from files; those in memory need none. */
class Staging {
  readonly buffer: Uint8Array | undefined;

  constructor(tensors: readonly TensorRef[]) {
    let bytes = 0;
    for (const tensor of tensors) {
      const range = tensorRange(tensor);
      if (range && !range.source.bytes) bytes = Math.max(bytes, range.length);
    }
    this.buffer = bytes > 0 ? new Uint8Array(bytes) : undefined;
  }
}
