/**
 * Kernels that pack rows of a matrix: codes and scales. What they do not take, JavaScript packs. Small
 * models can do without: import it on demand.
 */
import type { ArenaHandle } from '../backends/arena.ts';
import type { WasmBackend } from '../backends/wasm/backend.ts';
import { PANEL } from '../formats/format.ts';
import { type HeadBytes, headsSpec } from '../formats/heads.wasm.ts';
import { formats } from '../formats/index.ts';
import { fileLayout, headStep, type PackedLayout } from '../formats/layout.ts';
import type { PackCodes, PackScales, PackZeros } from '../formats/pack.ts';
import { type PackedBits, packSpec, SET } from '../formats/pack.wasm.ts';
import type { PackedShape } from '../formats/packed.ts';
import { scaleKinds } from '../formats/scales.ts';
import { SCALE_LIMIT } from '../formats/validate.ts';
import type { QuantizedWeights, WeightShape } from '../formats/weights.ts';
import { zerosSpec } from '../formats/zeros.wasm.ts';
import { argsOf, argumentList, type KernelSpec } from '../kernel-spec.ts';
import { Module } from '../wasm/emitter.ts';

/** Weights from which on a kernel, which has to be made and tiered up, gains anything. */
export const KERNEL_WEIGHTS = 2 ** 16;

/** Packs rows of a matrix, some at a time. */
export interface Packer {
  /** Where the codes of the next rows may be put, which saves a copy. */
  into(byteLength: number): Uint8Array;
  /** Brings the codes of some rows to the kernel. Absent: JavaScript moves them. */
  readonly codes: ((slab: QuantizedWeights) => PackCodes) | undefined;
  /** The same of scales, whose values it looks at, too. */
  readonly scales: ((slab: QuantizedWeights) => PackScales) | undefined;
  /** The same of zero points, where scales are the kernel's. Absent: there are none, or JavaScript moves them. */
  readonly zeros: ((slab: QuantizedWeights) => PackZeros) | undefined;
  /** Was one of the scales that the kernel has moved since `scales` outside of the contract? */
  sawBadScale(): boolean;
  /** Gives back its memory. */
  dispose(): void;
}

/** The most rows that there are at a time, whole panels, and where they are packed to. */
export interface Packing {
  readonly rows: number;
  readonly to: ArenaHandle;
}

export function packKernels(
  backend: WasmBackend,
  shape: PackedShape,
  layout: PackedLayout,
  { rows, to }: Packing,
): Packer {
  const isLarge = shape.N * shape.K >= KERNEL_WEIGHTS;
  const bytes = isLarge ? headBytes(shape, layout) : undefined;
  const { rowBytes, blocks } = fileLayout(shape);
  const codeBytes = rows * rowBytes + SKEW;
  const scaleBytes = LARGEST_BYTES + rows * blocks * (bytes ?? 0) + SKEW;
  const zeroBits = bytes ? zeroPointBits(shape) : undefined;
  const zeroBytes = zeroBits ? rows * zeroRowBytes(shape) + SKEW : 0;
  const staging = backend.alloc(codeBytes + scaleBytes + zeroBytes, 'rows to pack');
  const scales = backend.part(staging, codeBytes, scaleBytes);
  const zeros = backend.part(staging, codeBytes + scaleBytes, zeroBytes);
  const { memory } = backend.arena;
  const [pack, heads, points] = [
    isLarge && hasCodeKernel(shape, layout)
      ? kernelOn(memory, packSpec, formats[shape.format].bits as PackedBits)
      : undefined,
    bytes && kernelOn(memory, headsSpec, bytes),
    zeroBits && kernelOn(memory, zerosSpec, zeroBits),
  ];
  const largest = () => new Uint32Array(backend.arena.memory.buffer, scales.ptr, LARGEST_BYTES / 4);
  return {
    into: (byteLength) => backend.arena.bytes(backend.part(staging, 0, byteLength)),
    codes: pack && ((slab) => kernelCodes(pack, backend.arena.bytes(staging), slab, layout, to.ptr)),
    scales:
      heads &&
      ((slab) => {
        largest().fill(0);
        return kernelScales(heads, scales, slab, layout, to.ptr);
      }),
    zeros: points && ((slab) => kernelZeros(points, zeros, slab, layout, to.ptr)),
    sawBadScale: () => bytes !== undefined && largest().some((bits) => isBad(bits, bytes)),
    dispose: () => backend.free(staging),
  };
}

/** Whole sets of k, none of them past the end of a row. */
export function hasCodeKernel(shape: PackedShape, { paddedK, span }: PackedLayout): boolean {
  const { bits } = formats[shape.format];
  const isWhole = span % SET === 0 && fileLayout(shape).rowBytes * 8 >= paddedK * bits;
  return bits !== 2 && isWhole;
}

/** Bytes of a scale, if the kernel takes them: each head has one of each row. */
export function headBytes(shape: PackedShape, { paddedK }: PackedLayout): HeadBytes | undefined {
  const { blockSize, scale } = shape;
  const { bytes } = scaleKinds[scale];
  return blockSize && bytes !== 1 && paddedK <= blockSize * fileLayout(shape).blocks ? bytes : undefined;
}

/** Bits of a stored zero point, if the kernel takes them. */
export function zeroPointBits({ format, storedZeroPoints }: PackedShape): PackedBits | undefined {
  const { bits } = formats[format];
  return storedZeroPoints && bits !== 2 ? bits : undefined;
}

/** Bytes of a row of zero points. */
export const zeroRowBytes = (shape: WeightShape): number => fileLayout({ ...shape, N: 1 }).zeroPointBytes;

/** A vector in front of the scales: see heads.wasm.ts. */
export const LARGEST_BYTES = 16;

export const LIMIT_BITS = /* @__PURE__ */ new Uint32Array(/* @__PURE__ */ Float32Array.of(SCALE_LIMIT).buffer)[0];
export const FP16_INFINITY = 0x7c00;

/** @param bits of one f32, or two fp16 */
const isBad = (bits: number, bytes: HeadBytes): boolean =>
  bytes === 4 ? bits >= LIMIT_BITS : bits >>> 16 >= FP16_INFINITY || (bits & 0xffff) >= FP16_INFINITY;

type Kernel = (...args: number[]) => void;

const made = /* @__PURE__ */ new WeakMap<WebAssembly.Memory, Map<string, Kernel>>();
const compiled = /* @__PURE__ */ new Map<string, WebAssembly.Module>();

/** It tiers up with the first matrix: a call takes microseconds. */
function kernelOn<P>(memory: WebAssembly.Memory, spec: KernelSpec<P>, params: P): Kernel {
  const kernels = made.get(memory) ?? new Map<string, Kernel>();
  made.set(memory, kernels);
  const id = spec.id(params);
  const known = kernels.get(id);
  if (known) return known;
  const module = moduleOf(spec, params, !(memory.buffer instanceof ArrayBuffer));
  const kernel = new WebAssembly.Instance(module, { env: { memory } }).exports[id] as Kernel;
  kernels.set(id, kernel);
  return kernel;
}

export function moduleOf<P>(spec: KernelSpec<P>, params: P, shared: boolean): WebAssembly.Module {
  const key = `${spec.id(params)} ${shared}`;
  let module = compiled.get(key);
  if (!module) {
    const source = new Module();
    spec.emit(source, params);
    compiled.set(key, (module = new WebAssembly.Module(source.toBytes({ shared }))));
  }
  return module;
}

/** Room in front of what is staged, for {@link skewOf}. */
const SKEW = 16;

/**
 * How far behind a line rows are staged. V8 copies to shared memory a word at a time between addresses that agree in this, else byte by
 * byte: eight times as long.
 */
const skewOf = ({ byteOffset }: ArrayBufferView): number => byteOffset % 8;

/**
 * Brings the rows to the kernel, and it to them.
 *
 * @param staging arena memory for as many rows as there ever are
 * @param to address of the matrix
 */
function kernelCodes(
  kernel: Kernel,
  staging: Uint8Array,
  slab: QuantizedWeights,
  layout: PackedLayout,
  to: number,
): PackCodes {
  const { N, data } = slab;
  const { rowBytes } = fileLayout(slab);
  const panels = Math.ceil(N / PANEL);
  // Whole panels are packed from wherever they are in this memory.
  const isThere = data.buffer === staging.buffer && (N % PANEL === 0 || data.byteOffset === staging.byteOffset);
  const rows = isThere ? staging : staging.subarray(skewOf(data));
  if (!isThere) rows.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  // Rows past the last one repeat it: their scale is 0.
  for (let row = N; row < panels * PANEL; row++) rows.copyWithin(row * rowBytes, (N - 1) * rowBytes, N * rowBytes);
  const flip = data instanceof Int8Array ? 0x80808080 | 0 : 0;
  const from = isThere ? data.byteOffset : rows.byteOffset;
  return codeCalls(kernel, slab, layout, { from, to, panels, flip });
}

/** Where rows of codes are, and where the matrix is that they are packed into. */
export interface Moved {
  readonly from: number;
  readonly to: number;
  readonly panels: number;
}

export function codeCalls(
  kernel: Kernel,
  shape: WeightShape,
  layout: PackedLayout,
  { from, to, panels, flip }: Moved & { readonly flip: number },
): PackCodes {
  const { rowBytes } = fileLayout(shape);
  const { span, headBytes } = layout;
  const bits = formats[shape.format].bits as PackedBits;
  const toBlock = headStep({ bits }, layout);
  const given = { from, rowBytes, to, toPanel: 0, panels, blocks: 0, toBlock, sets: 0, flip };
  const { args, place } = listOf(packSpec, bits, given);
  const [FROM, TO, TO_PANEL, BLOCKS, SETS] = [
    place('from'),
    place('to'),
    place('toPanel'),
    place('blocks'),
    place('sets'),
  ];
  const pack = (k: number, blocks: number, sets: number, at: number, panelBytes: number): void => {
    args[FROM] = from + (k * bits) / 8;
    args[TO] = to + at + headBytes;
    args[TO_PANEL] = panelBytes;
    args[BLOCKS] = blocks;
    args[SETS] = sets;
    kernel(...args);
  };
  return (k0, kEnd, at, panelBytes) => {
    const blocks = Math.floor((kEnd - k0) / span);
    const rest = k0 + blocks * span;
    if (blocks > 0) pack(k0, blocks, span / SET, at, panelBytes);
    if (rest < kEnd) pack(rest, 1, (kEnd - rest) / SET, at + blocks * toBlock, panelBytes);
  };
}

/**
 * The same of scales.
 *
 * @param staging arena memory: the largest values, then room for as many rows as there ever are
 */
function kernelScales(
  kernel: Kernel,
  { arena, ptr }: ArenaHandle,
  slab: QuantizedWeights,
  layout: PackedLayout,
  to: number,
): PackScales {
  const { N, scales } = slab;
  const { blocks } = fileLayout(slab);
  const bytes = scales.BYTES_PER_ELEMENT as HeadBytes;
  const rowBytes = blocks * bytes;
  const panels = Math.ceil(N / PANEL);
  const { buffer } = arena.memory;
  const isThere = scales.buffer === buffer && N % PANEL === 0;
  const from = isThere ? scales.byteOffset : ptr + LARGEST_BYTES + skewOf(scales);
  if (!isThere) {
    const staged = new Uint8Array(buffer, from, panels * PANEL * rowBytes);
    staged.set(new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength));
    staged.fill(0, N * rowBytes); // rows past the last one
  }
  return scaleCalls(kernel, slab, layout, bytes, { from, to, panels, largest: ptr });
}

export function scaleCalls(
  kernel: Kernel,
  shape: WeightShape,
  layout: PackedLayout,
  bytes: HeadBytes,
  { from, to, panels, largest }: Moved & { readonly largest: number },
): PackScales {
  const blockSize = shape.blockSize!;
  const rowBytes = fileLayout(shape).blocks * bytes;
  const toHead = headStep(formats[shape.format], layout);
  const given = { from, rowBytes, to, toPanel: 0, panels, heads: 0, toHead, largest };
  const { args, place } = listOf(headsSpec, bytes, given);
  const [FROM, TO, TO_PANEL, HEADS] = [place('from'), place('to'), place('toPanel'), place('heads')];
  return (k0, heads, at, panelBytes) => {
    // A block longer than a K-block has a head in each.
    args[FROM] = from + Math.floor(k0 / blockSize) * bytes;
    args[TO] = to + at;
    args[TO_PANEL] = panelBytes;
    args[HEADS] = heads;
    kernel(...args);
  };
}

/**
 * The same of zero points.
 *
 * @param staging arena memory for as many rows as there ever are
 */
function kernelZeros(
  kernel: Kernel,
  { arena, ptr }: ArenaHandle,
  slab: QuantizedWeights,
  layout: PackedLayout,
  to: number,
): PackZeros {
  const { N, format } = slab;
  const zeroPoints = slab.zeroPoints!;
  const rowBytes = zeroRowBytes(slab);
  const panels = Math.ceil(N / PANEL);
  const flip = zeroPoints instanceof Int8Array ? 0x80 : 0;
  const from = ptr + skewOf(zeroPoints);
  const staged = new Uint8Array(arena.memory.buffer, from, panels * PANEL * rowBytes);
  staged.set(new Uint8Array(zeroPoints.buffer, zeroPoints.byteOffset, zeroPoints.byteLength));
  // Rows past the last one have those of symmetric codes.
  staged.fill(formats[format].bits === 4 ? 0x88 : 0x80 ^ flip, N * rowBytes);
  const bytes = slab.scales.BYTES_PER_ELEMENT as HeadBytes;
  return zeroCalls(kernel, slab, layout, bytes, { from, to, panels, flip: flip * 0x01010101 });
}

/** @param bytes of a scale, sixteen of which lie in front of a head's zero points */
export function zeroCalls(
  kernel: Kernel,
  shape: WeightShape,
  layout: PackedLayout,
  bytes: HeadBytes,
  { from, to, panels, flip }: Moved & { readonly flip: number },
): PackZeros {
  const blockSize = shape.blockSize!;
  const { bits } = formats[shape.format];
  const toHead = headStep(formats[shape.format], layout);
  const given = { from, rowBytes: zeroRowBytes(shape), to, toPanel: 0, panels, heads: 0, toHead, first: 0, flip };
  const { args, place } = listOf(zerosSpec, bits as PackedBits, given);
  const [TO, TO_PANEL, HEADS, FIRST] = [place('to'), place('toPanel'), place('heads'), place('first')];
  return (k0, heads, at, panelBytes) => {
    args[TO] = to + at + PANEL * bytes;
    args[TO_PANEL] = panelBytes;
    args[HEADS] = heads;
    args[FIRST] = Math.floor(k0 / blockSize);
    kernel(...args);
  };
}

/** A kernel's arguments, and where each is: most are the same for every call, and a large model takes tens of thousands of calls. */
function listOf<P, A extends string>(spec: KernelSpec<P, A>, params: P, given: Readonly<Record<A, number>>) {
  return {
    args: argumentList<P, A, number>(spec, params, given),
    place: (name: A): number => argsOf(spec, params).indexOf(name),
  };
}
