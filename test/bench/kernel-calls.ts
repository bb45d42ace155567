/** The kernels that a build calls, with their arguments: so that they can be called again by themselves, whatever the build is. */

export interface KernelCall {
  /** Its id: `gemm_i16_int4_f32_1x16_b32_s4`. */
  readonly id: string;
  /** The same call again, without anything around it. */
  readonly again: () => void;
}

export interface CallRecorder {
  /** The calls of kernels that something makes, in order. Kernels are those of instances that were made since the recorder was. */
  callsOf(run: () => void): KernelCall[];
  /** Instances that are made from now on are not looked at. */
  stop(): void;
}

export function recordCalls(): CallRecorder {
  const Original = WebAssembly.Instance;
  let calls: KernelCall[] | undefined;
  const recorded = (id: string, kernel: (...args: number[]) => void) => {
    const record = (...args: number[]) => {
      calls?.push({ id, again: kernel.bind(undefined, ...args) as () => void });
      kernel(...args);
    };
    return Object.defineProperty(record, 'length', { value: kernel.length });
  };
  WebAssembly.Instance = class extends Original {
    #exports: WebAssembly.Exports | undefined;
    override get exports(): WebAssembly.Exports {
      this.#exports ??= Object.fromEntries(
        Object.entries(super.exports).map(([id, value]) => [
          id,
          typeof value === 'function' ? recorded(id, value as (...args: number[]) => void) : value,
        ]),
      );
      return this.#exports;
    }
  };
  return {
    callsOf(run) {
      const made: KernelCall[] = [];
      calls = made;
      run();
      calls = undefined;
      return made;
    },
    stop() {
      WebAssembly.Instance = Original;
    },
  };
}
