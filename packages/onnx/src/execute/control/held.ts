/**
 * Values from outside of a loop that steps of its body read on the device: they are copied there once for all passes.
 * To the plans of a body they look like the results of earlier regions.
 */
import type { ArenaHandle } from '@msd/core';
import { countOf } from '../../dims.ts';
import type { OrtTensor } from '../../ort.ts';
import { newSlot } from '../../plan/draft.ts';
import type { Live, Parent, Workshop } from '../plan.ts';

/** The number of shapes that are kept: plans are made for each. */
const MAX_SHAPES = 4;
/** Smaller values are copied in every pass, which takes less than a microsecond. */
const LEAST_BYTES = 4096;

export class Held {
  readonly #device: Workshop['device'];
  readonly #parents = new Map<string, Parent & { readonly live: ReadonlyMap<string, Live> }>();

  constructor(device: Workshop['device']) {
    this.#device = device;
  }

  get byteLength(): number {
    let bytes = 0;
    for (const { live } of this.#parents.values()) for (const { handle } of live.values()) bytes += handle.byteLength;
    return bytes;
  }

  /**
   * @param given by name, those that steps read
   * @returns what plans go on from; `undefined` if nothing is worth it
   */
  put(given: ReadonlyMap<string, OrtTensor>): Parent | undefined {
    const worth = [...given].filter(([, { type, data }]) => type === 'float32' && lengthOf(data) >= LEAST_BYTES);
    if (worth.length === 0) return undefined;
    const key = JSON.stringify(worth.map(([name, { dims }]) => [name, dims]));
    const parent = this.#parents.get(key) ?? this.#make(key, worth);
    for (const [name, { data }] of worth) this.#device.write(parent.live.get(name)!.handle, data as Float32Array);
    return parent;
  }

  #make(key: string, values: readonly (readonly [string, OrtTensor])[]) {
    if (this.#parents.size >= MAX_SHAPES) this.#clear();
    const live = new Map<string, Live>();
    for (const [name, { dims }] of values) {
      const handle: ArenaHandle = this.#device.alloc(4 * countOf(dims), 'intermediates');
      live.set(name, { slot: newSlot('f32', dims), handle, place: undefined });
    }
    const parent = { live };
    this.#parents.set(key, parent);
    return parent;
  }

  #clear(): void {
    for (const { live } of this.#parents.values()) for (const { handle } of live.values()) this.#device.free(handle);
    this.#parents.clear();
  }
}

const lengthOf = (data: OrtTensor['data']): number => (ArrayBuffer.isView(data) ? data.byteLength : 0);
