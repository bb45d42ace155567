/** Packed matrices as recurrent layers multiply with them: adopted once, products bound once per form. */
import type { ArenaHandle, PreparedWeights, WasmBackend } from '@msd/core';
import { addOffset } from '../kernels/in-memory.ts';
import type { RecurrentAttrs } from '../kernels/recurrent.ts';
import { type MatrixSpec, matrixCount, planeBytes } from '../spec.ts';
import type { DataId, TensorInfo } from '../tf.ts';
import { type Call, keep } from './keep.ts';

export type Arithmetic = Pick<RecurrentAttrs, 'components' | 'activationBlock'>;

interface ProductOperands {
  readonly x: ArenaHandle;
  readonly M: number;
  readonly bias?: ArenaHandle | undefined;
  readonly residual?: ArenaHandle | undefined;
  /** Of each matrix. */
  readonly outs: readonly ArenaHandle[];
}

/** Packed matrices at one place. */
export class Matrices {
  readonly ptr: number;
  readonly #device: WasmBackend;
  readonly #spec: MatrixSpec;
  readonly #planes: readonly PreparedWeights[];
  readonly #calls = new Map<string, Call>();

  constructor(device: WasmBackend, spec: MatrixSpec, place: ArenaHandle) {
    this.ptr = place.ptr;
    this.#device = device;
    this.#spec = spec;
    const size = planeBytes(spec);
    this.#planes = Array.from({ length: matrixCount(spec) * spec.planes }, (_, i) =>
      device.adopt(spec, device.part(place, i * size, size)),
    );
  }

  /** Of x with the matrices [first, first + outs.length). */
  multiply(first: number, operands: ProductOperands, arithmetic: Arithmetic): void {
    const { planes, offset, K, N } = this.#spec;
    const { x, M, outs } = operands;
    this.#run(first, 0, operands, arithmetic);
    if (planes === 2)
      for (const [i, out] of outs.entries()) this.#run(first + i, 1, { x, M, residual: out, outs: [out] }, arithmetic);
    if (!offset) return;
    const { arena } = this.#device;
    for (const out of outs) addOffset(arena.float32(x), { M, K, N, offset, out: arena.float32(out) });
  }

  #run(first: number, plane: number, { x, M, bias, residual, outs }: ProductOperands, arithmetic: Arithmetic): void {
    const operands = [x, ...outs.flatMap((out) => [bias, undefined, residual, out])];
    const { components, activationBlock } = arithmetic;
    const key = [first, plane, outs.length, M, !bias, !residual, components, activationBlock].join();
    const known = this.#calls.get(key);
    if (known)
      this.#device.run(known, { operands: operands as ArenaHandle[] }); // absent ones stay absent
    else {
      const matrices = outs.map((_, i) => this.#planes[(first + i) * this.#spec.planes + plane]!);
      const work = { kind: 'product', matrices, M, ...arithmetic, each: outs.map(() => ({})) } as const;
      const call = this.#device.bind(work, operands);
      keep(this.#calls, key, call);
      this.#device.run(call);
    }
  }
}

/** Of one device, by tensor, as long as they lie where they lay. */
export class MatricesOf {
  readonly #device: WasmBackend;
  readonly #known = new WeakMap<DataId, Matrices>();

  constructor(device: WasmBackend) {
    this.#device = device;
  }

  at({ dataId }: TensorInfo, spec: MatrixSpec, place: ArenaHandle): Matrices {
    const known = this.#known.get(dataId);
    if (known?.ptr === place.ptr) return known;
    const matrices = new Matrices(this.#device, spec, place);
    this.#known.set(dataId, matrices);
    return matrices;
  }
}
