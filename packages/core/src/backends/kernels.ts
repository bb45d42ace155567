/**
 * Kernels are emitted on first use, compiled once per page, instantiated once per arena, and warmed: V8 tiers a function
 * up between calls, never within one, so a first large call would run unoptimised to its end.
 */
import { Module } from '../wasm/emitter.ts';
import { WARM_MS } from './timing.ts';

export type Kernel = (...args: number[]) => void;

const isShared = ({ buffer }: WebAssembly.Memory): boolean =>
  typeof SharedArrayBuffer === 'function' && (buffer as ArrayBufferLike) instanceof SharedArrayBuffer;

const compiled = /* @__PURE__ */ new Map<string, { module: WebAssembly.Module; warm: boolean }>();

function compile(id: string, emit: (module: Module) => void, shared: boolean) {
  const key = shared ? `${id}_shared` : id;
  const known = compiled.get(key);
  if (known) return known;
  const source = new Module();
  emit(source);
  const entry = { module: new WebAssembly.Module(source.toBytes({ shared })), warm: false };
  compiled.set(key, entry);
  return entry;
}

export class Kernels {
  readonly #memory: WebAssembly.Memory;
  readonly #instances = new Map<string, Kernel>();

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
  }

  /**
   * @param emit writes one function called `id` into the module
   * @param warmUp one small call on scratch memory; repeated for ~10 ms the first time the page meets this kernel
   */
  get(id: string, emit: (module: Module) => void, warmUp: (kernel: Kernel) => void): Kernel {
    const known = this.#instances.get(id);
    if (known) return known;
    const entry = compile(id, emit, isShared(this.#memory));
    const { exports } = new WebAssembly.Instance(entry.module, { env: { memory: this.#memory } });
    const kernel = exports[id] as Kernel;
    this.#instances.set(id, kernel);
    if (!entry.warm) {
      for (const start = performance.now(); performance.now() - start < WARM_MS; ) warmUp(kernel);
      entry.warm = true;
    }
    return kernel;
  }
}
