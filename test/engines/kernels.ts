/** Records which kernels are called: every function that an instance made from now on exports, by its name. */
export function recordKernels(): ReadonlySet<string> {
  const called = new Set<string>();
  WebAssembly.Instance = class extends WebAssembly.Instance {
    #exports: WebAssembly.Exports | undefined;
    override get exports(): WebAssembly.Exports {
      this.#exports ??= Object.fromEntries(
        Object.entries(super.exports).map(([name, value]) => [
          name,
          typeof value === 'function' ? recorded(name, value as (...args: number[]) => unknown) : value,
        ]),
      );
      return this.#exports;
    }
  };
  const recorded = (name: string, kernel: (...args: number[]) => unknown) => {
    const record = (...args: number[]) => {
      called.add(name);
      return kernel(...args);
    };
    return Object.defineProperty(record, 'length', { value: kernel.length });
  };
  return called;
}
