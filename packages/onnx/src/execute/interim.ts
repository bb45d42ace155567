/** Stands in for core's own WASM device until that is there: one thread for ops, matmulMany for products. */
import type { ArenaHandle, PreparedWeights, WasmBackend } from '@msd/core';
import { type Call, type Device, Module, type OpWork, type ProductWork, type Work } from '@msd/core/program';

interface InterimCall extends Call<ArenaHandle> {
  run(): void;
}

const modules = new Map<string, WebAssembly.Module>();

export class InterimDevice implements Device<ArenaHandle, PreparedWeights> {
  readonly device = 'wasm';
  readonly #backend: WasmBackend;
  readonly #kernels = new Map<string, (...args: number[]) => void>();
  #memory: WebAssembly.Memory | undefined;

  constructor(backend: WasmBackend) {
    this.#backend = backend;
  }

  alloc(byteLength: number, label?: string): ArenaHandle {
    return this.#backend.arena.alloc(byteLength, label);
  }
  free(handle: ArenaHandle): void {
    this.#backend.arena.free(handle);
  }
  part(handle: ArenaHandle, begin: number, byteLength: number): ArenaHandle {
    return this.#backend.arena.at(handle.ptr + begin, byteLength);
  }
  write(handle: ArenaHandle, data: ArrayBufferView): void {
    this.#backend.arena.bytes(handle).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  read(handle: ArenaHandle, into: ArrayBufferView): void {
    new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(this.#backend.arena.bytes(handle));
  }
  prepare(weights: Parameters<WasmBackend['prepare']>[0]): PreparedWeights {
    return this.#backend.prepare(weights);
  }
  bind(work: Work<PreparedWeights>, operands: readonly (ArenaHandle | undefined)[]): InterimCall {
    return work.kind === 'op' ? this.#bindOp(work, operands) : this.#bindProduct(work, operands);
  }
  run(call: Call<ArenaHandle>): void {
    (call as InterimCall).run();
  }
  flush(): void {}
  dispose(): void {
    this.#backend.dispose();
  }

  #bindOp(work: OpWork, operands: readonly (ArenaHandle | undefined)[]): InterimCall {
    const outputs = work.spec.infer(work.op, work.inputs);
    const { calls, scratchBytes } = work.spec.wasm(work.op, work.inputs, outputs);
    const scratch = scratchBytes > 0 ? this.alloc(scratchBytes, 'scratch') : undefined;
    const bound = calls.map((call) => {
      const rows = call.share?.rows ?? 0;
      const args = call.args.map(
        ({ operand, scratch: own, value = 0, rows: times = 0 }) =>
          value + (operand === undefined ? 0 : (operands[operand]?.ptr ?? 0)) + (own ? scratch!.ptr : 0) + times * rows,
      );
      return { id: call.id, emit: call.emit, args };
    });
    return {
      work,
      operands,
      kernels: bound.map(({ id }) => id),
      run: () => {
        for (const { id, emit, args } of bound) this.#kernel(id, emit)(...args);
      },
    };
  }

  #kernel(id: string, emit: (module: Module) => void): (...args: number[]) => void {
    const { memory } = this.#backend.arena;
    if (memory !== this.#memory) {
      this.#memory = memory;
      this.#kernels.clear();
    }
    let kernel = this.#kernels.get(id);
    if (!kernel) {
      const shared = (memory.buffer as ArrayBufferLike) instanceof SharedArrayBuffer;
      const key = `${id}${shared}`;
      let compiled = modules.get(key);
      if (!compiled) {
        const source = new Module();
        emit(source);
        modules.set(key, (compiled = new WebAssembly.Module(source.toBytes({ shared }))));
      }
      const { exports } = new WebAssembly.Instance(compiled, { env: { memory } });
      kernel = exports[id] as (...args: number[]) => void;
      this.#kernels.set(id, kernel);
    }
    return kernel;
  }

  #bindProduct(work: ProductWork<PreparedWeights>, operands: readonly (ArenaHandle | undefined)[]): InterimCall {
    const [x] = operands;
    const each = work.matrices.map((_, i) => {
      const [bias, multiply, residual, out] = operands.slice(1 + 4 * i, 5 + 4 * i);
      return { ...work.each?.[i], bias, multiply, residual, out };
    });
    const { components, activationBlock, M } = work as ProductWork<PreparedWeights> & {
      components: 1 | 2;
      activationBlock: 256;
    };
    return {
      work,
      operands,
      kernels: work.matrices.map((matrix) =>
        this.#backend.kernelFor(matrix, Math.max(1, M), { components, activationBlock }),
      ),
      run: () => {
        this.#backend.matmulMany(x!, work.matrices, { components, activationBlock, M, each });
      },
    };
  }
}
