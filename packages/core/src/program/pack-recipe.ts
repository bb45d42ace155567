/** How threads pack a matrix that they read themselves, for JavaScript where there are such threads: import it on demand. */
import { PANEL } from '../formats/format.ts';
import { headsSpec } from '../formats/heads.wasm.ts';
import { formats } from '../formats/index.ts';
import { fileLayout, type PackedLayout } from '../formats/layout.ts';
import type { packInto } from '../formats/pack.ts';
import { type PackedBits, packSpec } from '../formats/pack.wasm.ts';
import type { PackedShape } from '../formats/packed.ts';
import { scaleKinds } from '../formats/scales.ts';
import { zerosSpec } from '../formats/zeros.wasm.ts';
import { argsOf, type KernelSpec } from '../kernel-spec.ts';
import {
  codeCalls,
  FP16_INFINITY,
  hasCodeKernel,
  headBytes,
  KERNEL_WEIGHTS,
  LARGEST_BYTES,
  LIMIT_BITS,
  type Moved,
  moduleOf,
  scaleCalls,
  zeroCalls,
  zeroPointBits,
  zeroRowBytes,
} from './pack-kernels.ts';

/**
 * How whole panels of a matrix are packed by kernels alone: plain data, which any thread that shares the memory can follow. Matrices of
 * one shape have the same.
 */
export interface PackRecipe {
  /** The most rows at a time. */
  readonly rows: number;
  /** Memory of a thread's own, in bytes from a multiple of 16 on: the largest bits of scales, 16 bytes, and rows of all parts. */
  readonly stagingBytes: number;
  /** Codes, scales and zero points as a file has them, whose rows follow each other without gaps: where they go in the staging, bytes of a row. */
  readonly parts: readonly PackPart[];
  readonly kernels: readonly PackKernel[];
  /** What is called with as many rows, for a staging and a matrix at address 0, to pack the first panels. */
  readonly calls: readonly { readonly kernel: number; readonly args: readonly number[] }[];
  /** A scale of so many bytes is out of the contract if its largest bits are at least `limit`. */
  readonly scaleBytes: number;
  readonly limit: number;
}

interface PackPart {
  readonly at: number;
  readonly rowBytes: number;
}

/** A kernel, and at which of its arguments these are. */
interface PackKernel {
  readonly id: string;
  readonly module: WebAssembly.Module;
  /** Addresses; the staging's is added. */
  readonly from: number;
  readonly largest: number | undefined;
  /** An address; the matrix's is added, and `toPanel` for each panel before the first one. */
  readonly to: number;
  readonly toPanel: number;
  readonly panels: number;
}

/**
 * @param rows the most at a time, whole panels
 * @param shared is the memory?
 * @param pack `packInto`, handed over: pages have it elsewhere
 * @returns `undefined` if JavaScript has a part in it
 */
export function packRecipes(
  shape: PackedShape,
  layout: PackedLayout,
  rows: number,
  shared: boolean,
  pack: typeof packInto,
): PackRecipe | undefined {
  const bytes = shape.N * shape.K < KERNEL_WEIGHTS ? undefined : headBytes(shape, layout);
  const zeroBits = zeroPointBits(shape);
  if (!bytes || (shape.storedZeroPoints && !zeroBits) || !hasCodeKernel(shape, layout)) return undefined;
  const { rowBytes, blocks } = fileLayout(shape);
  const codeBits = formats[shape.format].bits as PackedBits;
  const calls: { kernel: number; args: number[] }[] = [];
  const record =
    (kernel: number) =>
    (...args: number[]): void => {
      calls.push({ kernel, args });
    };
  let stagingBytes = LARGEST_BYTES;
  const parts: PackPart[] = [];
  const part = (ofRow: number): Moved => {
    const from = stagingBytes;
    parts.push({ at: from, rowBytes: ofRow });
    stagingBytes += rows * ofRow;
    return { from, to: 0, panels: rows / PANEL };
  };
  const codes = codeCalls(record(0), shape, layout, { ...part(rowBytes), flip: 0 });
  const scales = scaleCalls(record(1), shape, layout, bytes, { ...part(blocks * bytes), largest: 0 });
  const kernels = [placed(packSpec, codeBits, shared), placed(headsSpec, bytes, shared)];
  const zeros = zeroBits && zeroCalls(record(2), shape, layout, bytes, { ...part(zeroRowBytes(shape)), flip: 0 });
  if (zeroBits) kernels.push(placed(zerosSpec, zeroBits, shared));
  const nothing = new ArrayBuffer(0);
  const rowsAlone = { ...shape, N: rows, data: new Uint8Array(), scales: new scaleKinds[shape.scale].array(nothing) };
  pack(rowsAlone, layout, nothing, 0, { codes, scales, zeros });
  return {
    rows,
    stagingBytes,
    parts,
    kernels,
    calls,
    scaleBytes: bytes,
    limit: bytes === 4 ? LIMIT_BITS : FP16_INFINITY,
  };
}

function placed<P, A extends string>(spec: KernelSpec<P, A>, params: P, shared: boolean): PackKernel {
  const at = (name: string): number => (argsOf(spec, params) as readonly string[]).indexOf(name);
  const largest = at('largest');
  return {
    id: spec.id(params),
    module: moduleOf(spec, params, shared),
    from: at('from'),
    largest: largest < 0 ? undefined : largest,
    to: at('to'),
    toPanel: at('toPanel'),
    panels: at('panels'),
  };
}
