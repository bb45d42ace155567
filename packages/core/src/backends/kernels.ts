/**
 * Kernels are emitted on first use, compiled once per page, instantiated once per arena, and warmed: V8 tiers a function
 * up between calls, never within one, so a first large call would run unoptimised to its end.
 */
import { Module } from '../wasm/emitter.ts';
import type { Arena } from './arena.ts';
import type { Team } from './threads/team.ts';
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
  readonly #arena: Arena;
  readonly #team: Team | undefined;
  readonly #instances = new Map<string, Kernel>();

  /** @param team gets the kernels, too */
  constructor(arena: Arena, team?: Team) {
    this.#arena = arena;
    this.#team = team;
  }

  /** The arena has another memory: instances are made anew. */
  forget(): void {
    this.#instances.clear();
    this.#team?.forget();
  }

  /**
   * @param emit writes one function called `id` into the module
   * @param warmUp one small call on 64 KiB of zeros at `at`; repeated for ~10 ms the first time the page meets this kernel
   */
  get(id: string, emit: (module: Module) => void, warmUp: (kernel: Kernel, at: number) => void): Kernel {
    const known = this.#instances.get(id);
    if (known) return known;
    const arena = this.#arena;
    const entry = compile(id, emit, isShared(arena.memory));
    // Allocated before the instance is made: it may move the arena to another memory.
    const zeros = entry.warm ? undefined : arena.alloc(65536, 'warm-up');
    const { memory } = arena;
    const { exports } = new WebAssembly.Instance(entry.module, { env: { memory } });
    const kernel = exports[id] as Kernel;
    this.#instances.set(id, kernel);
    if (arena.shared) this.#team?.install(kernel, id, entry.module, memory);
    if (zeros) {
      arena.bytes(zeros).fill(0);
      for (const start = performance.now(); performance.now() - start < WARM_MS; ) warmUp(kernel, zeros.ptr);
      entry.warm = true;
      arena.free(zeros);
    }
    return kernel;
  }
}
