/**
 * Keeps images with their channels last, [batch, …, channels], as long as nothing needs them in the order of ONNX.
 * Convolutions read and write images in that layout, and elementwise steps in between work in either.
 *
 *   image to channels, element by element      ->  element by element, image to channels
 *   image to channels, mean over positions     ->  mean over positions
 *   image to channels, channels to the end     ->  nothing
 *
 * No bit changes but those of sums over positions, whose order is another one.
 */

import { type Copy, copyOnWasm as copy, type ReduceOp, reduceOnWasm as reduce } from '@msd/core/nn';
import { countOf, sameNumbers, stridesOf } from '../dims.ts';
import { channelDims, positionDims, toChannelsStep } from '../ops/conv/positions.ts';
import { type OpStep, part, type Slot } from '../ops/lowering.ts';
import { newSlot, type Planned } from './draft.ts';
import { expressionOf, readsOf } from './fuse.ts';

/** @param leaving slots that are needed after the steps */
export function keepPositions(steps: readonly Planned[], leaving: Iterable<Slot>): readonly Planned[] {
  if (!steps.some(({ step }) => step.kind === 'op' && step.isToChannels)) return steps;
  const needed = new Set([...leaving].map(({ root }) => root));
  const layout = new Layout(needed);
  for (const planned of steps) layout.add(planned);
  return withoutDead(layout.steps, needed);
}

class Layout {
  readonly steps: Planned[] = [];
  readonly #needed: ReadonlySet<Slot>;
  /** Images in the order of ONNX, and the same with channels last. */
  readonly #images = new Map<Slot, Slot>();
  /** Slots that are not written any more, and what holds the same instead. */
  readonly #moved = new Map<Slot, Slot>();

  constructor(needed: ReadonlySet<Slot>) {
    this.#needed = needed;
  }

  add({ step: original, nodes }: Planned): void {
    const step = this.#moved.size > 0 ? mapReads(original, (slot) => this.#whereIs(slot)) : original;
    const isHandled = step.kind === 'op' && this.#op(step, nodes);
    if (!isHandled) this.steps.push({ step, nodes });
  }

  #whereIs(slot: Slot): Slot {
    const moved = this.#moved.get(slot.root);
    return moved ? part(moved, slot.begin ?? 0, slot.dims) : slot;
  }

  /** @returns false if the step is to stay what it is */
  #op(step: OpStep, nodes: readonly string[]): boolean {
    const [out] = step.outputs as readonly [Slot];
    if (step.isToChannels) {
      this.#images.set(out.root, step.inputs[0]!);
      return false;
    }
    const [image] = step.inputs.map((slot) => slot && this.#imageOf(slot));
    if (image && isToPositions(step, image)) {
      // What is needed afterwards has a place of its own.
      if (this.#needed.has(out.root))
        this.steps.push({ step: { ...step, op: sameOrder(out.dims), inputs: [image] }, nodes });
      else this.#moved.set(out.root, image);
      return true;
    }
    if (image && (step.spec as unknown) === reduce) return this.#reduce(step, image, nodes);
    return expressionOf({ step }) !== undefined && this.#elementwise(step, out, nodes);
  }

  #imageOf(slot: Slot): Slot | undefined {
    return slot.begin ? undefined : this.#images.get(slot.root);
  }

  #elementwise(step: OpStep, out: Slot, nodes: readonly string[]): boolean {
    if (out.dims.length < 3 || out.dtype !== 'f32') return false;
    let images = 0;
    const inputs: Slot[] = [];
    for (const slot of step.inputs) {
      if (!slot) return false;
      const whole = sameNumbers(slot.dims, out.dims) ? this.#imageOf(slot) : undefined;
      const image = whole && keepsChannels(slot, whole) ? whole : undefined;
      if (image) images++;
      const own = image ? part(image, 0, positionDims(out.dims)) : repeatedAlike(slot, out.dims.length);
      if (!own) return false;
      inputs.push(own);
    }
    if (images === 0) return false;
    const result = newSlot('f32', positionDims(out.dims));
    this.steps.push({ step: { ...step, inputs, outputs: [result] }, nodes });
    this.#images.set(out.root, result);
    this.steps.push({ step: toChannelsStep(result, out), nodes });
    return true;
  }

  /** Over all positions: what is left of an image is one position, the same in either order. */
  #reduce(step: OpStep, image: Slot, nodes: readonly string[]): boolean {
    const op = step.op as ReduceOp;
    const [{ dims } = { dims: [] }] = step.inputs as readonly Slot[];
    const axes = op.axes.map((axis) => (axis < 0 ? axis + dims.length : axis)).sort((a, b) => a - b);
    const isSpatial =
      dims.length > 2 &&
      axes.join() ===
        dims
          .slice(2)
          .map((_, d) => d + 2)
          .join();
    if (!isSpatial || !sameNumbers(dims, channelDims(image.dims))) return false;
    this.steps.push({ step: { ...step, op: { ...op, axes: axes.map((axis) => axis - 1) }, inputs: [image] }, nodes });
    return true;
  }
}

/** Is a slot the image, its positions in one dimension or several? Under other dims (a Reshape) its elements lie otherwise. */
const keepsChannels = ({ dims }: Slot, image: Slot): boolean =>
  dims[0] === image.dims[0] && dims[1] === image.dims.at(-1);

/** An operand that is repeated over all positions, or over all channels, seen with channels last; nothing has to be moved. */
function repeatedAlike(slot: Slot, rank: number): Slot | undefined {
  if (slot.dims.length > rank) return undefined;
  const dims = [...new Array<number>(rank - slot.dims.length).fill(1), ...slot.dims];
  const isEasy = dims[1] === 1 || dims.slice(2).every((dim) => dim === 1);
  return isEasy ? part(slot, 0, positionDims(dims)) : undefined;
}

/** Does a copy bring all of an image that it reads in the order of ONNX into the order of positions? */
function isToPositions({ spec, op, inputs }: OpStep, image: Slot): boolean {
  if ((spec as unknown) !== copy || inputs.length !== 1) return false;
  const { outputs, parts } = op as Copy;
  const [only] = parts;
  if (outputs.length !== 1 || parts.length !== 1 || !only || 'value' in only.from) return false;
  const { dims, from, to } = only;
  const [batch = 0, C = 0] = [image.dims[0], image.dims.at(-1)];
  const positions = countOf(image.dims.slice(1, -1));
  const isWhole = countOf(dims) === countOf(image.dims) && from.offset === 0 && to.offset === 0;
  const isDense = sameNumbers(joined(dims, to.strides), joined(dims, stridesOf(dims)));
  return (
    isWhole &&
    isDense &&
    sameNumbers(joined(dims, from.strides), joined([batch, positions, C], [C * positions, 1, positions]))
  );
}

function sameOrder(dims: readonly number[]): Copy {
  const place = { operand: 0, offset: 0, strides: [1] };
  return { outputs: [dims], parts: [{ dims: [countOf(dims)], from: place, to: place }] };
}

/** Sizes and strides one after the other, without dimensions of 1; neighbours that are stepped through evenly are one. */
function joined(dims: readonly number[], strides: readonly number[]): number[] {
  const out: number[] = [];
  for (const [d, dim] of dims.entries()) {
    if (dim === 1) continue;
    const stride = strides[d]!;
    if (out.length > 0 && out.at(-1) === stride * dim) out.splice(-2, 2, out.at(-2)! * dim, stride);
    else out.push(dim, stride);
  }
  return out;
}

/** Nobody reads them any more in the order of ONNX. */
function withoutDead(steps: readonly Planned[], needed: ReadonlySet<Slot>): Planned[] {
  const read = new Set(needed);
  const kept: Planned[] = [];
  for (const planned of steps.toReversed()) {
    const { step } = planned;
    if (step.kind === 'op' && step.isToChannels && !read.has(step.outputs[0]!.root)) continue;
    for (const { root } of readsOf(step)) read.add(root);
    kept.push(planned);
  }
  return kept.reverse();
}

function mapReads(step: Planned['step'], at: (slot: Slot) => Slot): Planned['step'] {
  const some = <T extends Slot | undefined>(slot: T): T => (slot ? (at(slot) as T) : slot);
  switch (step.kind) {
    case 'product':
      return {
        ...step,
        x: at(step.x),
        bias: some(step.bias),
        multiply: some(step.multiply),
        residual: some(step.residual),
      };
    case 'op':
      return { ...step, inputs: step.inputs.map(some) };
    case 'attention': {
      const { q, k, v } = step;
      const inside = <P extends typeof k>(own: P): P => (own ? ({ ...own, slot: at(own.slot) } as P) : own);
      return {
        ...step,
        q: inside(q)!,
        k: inside(k),
        v: inside(v),
        sinks: some(step.sinks),
        bias: some(step.bias),
        mask: some(step.mask),
      };
    }
    case 'recurrent':
      return {
        ...step,
        x: at(step.x),
        initialH: some(step.initialH),
        cell: step.cell.kind === 'LSTM' ? { ...step.cell, initialC: some(step.cell.initialC) } : step.cell,
      };
    default:
      return step;
  }
}
