/**
 * A loop over positions as a program: what a graph's loop of a recurrent layer does at each of them, in the order in which it is done.
 * Places are matrices [batch, width]; whatever happens between two products is one expression for each row.
 */
import type { Elementwise } from '@msd/core/nn';

/**
 *   sequence   a row of the input at each position, [positions, batch, width]
 *   mask       likewise, one bool for each row, or for each number; with `compare` the number of the position against one for each row
 *   state      from one position to the next; one that is never written stays what it is
 *   vector     the same for all rows, [width]
 *   local      made at each position
 *
 * `input` counts the inputs of the node behind its matrices.
 */
export type Place =
  | { readonly kind: 'sequence'; readonly width: number; readonly input: number; readonly weight?: PlainWeight }
  | { readonly kind: 'mask'; readonly width: number; readonly input: number; readonly compare?: Comparison }
  | { readonly kind: 'state' | 'vector'; readonly width: number; readonly input: number }
  | { readonly kind: 'local'; readonly width: number };

export const COMPARISONS = ['Less', 'LessEqual', 'Greater', 'GreaterEqual'] as const;
/** Of the position, from 0, with a length. */
export type Comparison = (typeof COMPARISONS)[number];

/** Floats that a sequence is multiplied with beforehand. */
export interface PlainWeight {
  readonly input: number;
  readonly transposed: boolean;
}

/** Numbers of a row from `offset` on. */
export type Part = readonly [place: number, offset: number];

export type Step =
  | { readonly kind: 'product'; readonly from: number; readonly matrix: number; readonly to: number }
  | {
      readonly kind: 'rows';
      readonly width: number;
      readonly op: Elementwise;
      readonly from: Part[];
      readonly to: Part[];
    };

/**
 *   state      what it is behind the last position
 *   sequence   what a place holds behind each position, [positions, batch, width]
 *   last       the same of the last position only, [1, batch, width]
 *   count      how often the loop ran, and where it began to count
 */
export type LoopOutput =
  | { readonly kind: 'state' | 'sequence' | 'last'; readonly place: number }
  | { readonly kind: 'count'; readonly start: number };

export interface LoopProgram {
  /** Inputs that say how often it runs; the least of them counts, and `limit`. */
  readonly limits: readonly number[];
  readonly limit?: number;
  readonly places: readonly Place[];
  readonly steps: readonly Step[];
  readonly outputs: readonly LoopOutput[];
}

/** Places that steps write. */
function writtenBy({ steps }: LoopProgram): Set<number> {
  return new Set(steps.flatMap((step) => (step.kind === 'product' ? [step.to] : step.to.map(([place]) => place))));
}

/** Places of states that change. */
export function changingStates(program: LoopProgram): number[] {
  const written = writtenBy(program);
  return program.places.flatMap(({ kind }, i) => (kind === 'state' && written.has(i) ? [i] : []));
}

const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;

/** Does the value have the form of a program whose numbers point at what is there? */
export function isProgram(value: unknown, inputs: number, matrices: number): value is LoopProgram {
  const { limits, places, steps, outputs } = (value ?? {}) as Partial<LoopProgram>;
  if (![limits, places, steps, outputs].every(Array.isArray)) return false;
  const isInput = (at: unknown) => isCount(at) && (at as number) < inputs;
  const isPlace = (at: unknown) => isCount(at) && (at as number) < places!.length;
  const isPart = (part: unknown, width: number) =>
    Array.isArray(part) && isPlace(part[0]) && isCount(part[1]) && part[1] + width <= places![part[0]]!.width;
  const isLocal = (at: number) => isPlace(at) && ['local', 'state'].includes(places![at]!.kind);
  return (
    limits!.every(isInput) &&
    places!.every(
      (place) =>
        isCount(place?.width) &&
        place.width > 0 &&
        (place.kind === 'local' ||
          (['sequence', 'mask', 'state', 'vector'].includes(place.kind) && isInput(place.input))) &&
        (place.kind !== 'sequence' || !place.weight || isInput(place.weight.input)) &&
        (place.kind !== 'mask' || !place.compare || COMPARISONS.includes(place.compare)),
    ) &&
    steps!.every((step) =>
      step?.kind === 'product'
        ? isPlace(step.from) && isLocal(step.to) && isCount(step.matrix) && step.matrix < matrices
        : step?.kind === 'rows' &&
          isCount(step.width) &&
          Array.isArray(step.from) &&
          Array.isArray(step.to) &&
          Array.isArray(step.op?.nodes) &&
          Array.isArray(step.op.outputs) &&
          step.op.outputs.length === step.to.length &&
          step.from.every((part) => isPart(part, step.width)) &&
          step.to.every((part) => isPart(part, step.width) && isLocal(part[0])),
    ) &&
    outputs!.every((output) =>
      output?.kind === 'count'
        ? Number.isInteger(output.start)
        : ['state', 'sequence', 'last'].includes(output?.kind as string) &&
          isLocal(output.place) &&
          (output.kind !== 'state' || places![output.place]!.kind === 'state'),
    )
  );
}
