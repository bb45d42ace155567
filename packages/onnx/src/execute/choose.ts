/** Chooses the graph of a run, by its conditions one after the other. */
import type { ArenaHandle } from '@msd/core';
import type { Device } from '@msd/core/program';
import type { Choice } from '../inline/branches.ts';
import type { Info } from '../ir/info.ts';
import type { OrtTensor } from '../ort.ts';
import { elementsOf, valueOfTensor } from './value.ts';

/** @throws `RangeError` if a condition is not one element */
export function chooseVariant(choice: Choice, fed: (name: string) => OrtTensor, device: Device<ArenaHandle>): number {
  let at = choice;
  while (at.condition) {
    const inputs = new Map<string, Info>();
    for (const [name, isNeeded] of at.condition.needs) {
      const value = valueOfTensor(fed(name));
      const { elemType, dims } = value;
      inputs.set(name, { elemType, dims, data: isNeeded ? elementsOf(value, device) : undefined });
    }
    at = at.condition.holds(inputs) ? at.yes : at.no;
  }
  return at.variant;
}
