/** Expressions over rows of one length, bound once each, then told where operands lie. */
import type { ArenaHandle, WasmBackend } from '@msd/core';
import { type Elementwise, elementwiseOnWasm as elementwise } from '@msd/core/nn';
import { type Call, keep } from './keep.ts';

/** Rows of floats, of one length. */
export function copyRows({ arena }: WasmBackend, from: ArenaHandle, to: ArenaHandle): void {
  arena.float32(to).set(arena.float32(from));
}

/** A model has a few for each cell. */
const MOST_EXPRESSIONS = 128;

export class Expressions {
  readonly #device: WasmBackend;
  readonly #calls = new Map<string, Call>();

  constructor(device: WasmBackend) {
    this.#device = device;
  }

  /** @param key of the expression. @param operands inputs, then outputs, each of `length` numbers */
  run(key: string, expression: () => Elementwise, length: number, operands: ArenaHandle[]): void {
    const whole = `${key},${length}`;
    const known = this.#calls.get(whole);
    if (known) this.#device.run(known, { operands });
    else this.#device.run(this.#bind(whole, expression(), length, operands));
  }

  #bind(key: string, op: Elementwise, length: number, operands: ArenaHandle[]): Call {
    const type = { dtype: 'f32' as const, dims: [length] };
    const inputs = new Array<typeof type>(operands.length - op.outputs.length).fill(type);
    const call = this.#device.bind({ kind: 'op', spec: elementwise as never, op: op as never, inputs }, operands);
    keep(this.#calls, key, call, MOST_EXPRESSIONS);
    return call;
  }
}
