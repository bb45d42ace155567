/**
 * Kernels are emitted on first use, compiled once per page, instantiated once per arena, and warmed: V8 tiers a function
 * up between calls, never within one, so a first large call would run unoptimised to its end.
 */
import type { KernelSource } from '../../kernel-spec.ts';
import type { Team } from '../../threads/team.ts';
import { Module } from '../../wasm/emitter.ts';
import { warmUp } from '../../wasm/timing.ts';
import type { Arena } from '../arena.ts';

export type Kernel = (...args: number[]) => void;

const isShared = ({ buffer }: WebAssembly.Memory): boolean =>
  typeof SharedArrayBuffer === 'function' && (buffer as ArrayBufferLike) instanceof SharedArrayBuffer;

const compiled = /* @__PURE__ */ new Map<string, { module: WebAssembly.Module; warm: boolean }>();

function compile({ id, emit }: KernelSource, shared: boolean) {
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
  /** Another number means another memory: kernels made before are dead. */
  generation = 0;
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
    this.generation++;
    this.#instances.clear();
    this.#team?.forget();
  }

  /** A kernel on the memory that the arena has now; to make it may move the arena. Warmed the first time the page meets it. */
  get(source: KernelSource): Kernel {
    const { id } = source;
    const known = this.#instances.get(id);
    if (known) return known;
    const arena = this.#arena;
    const entry = compile(source, isShared(arena.memory));
    // Allocated before the instance is made: it may move the arena to another memory.
    const zeros = entry.warm ? undefined : arena.alloc(TRIAL_BYTES, 'warm-up');
    const { memory } = arena;
    const { exports } = new WebAssembly.Instance(entry.module, { env: { memory } });
    const kernel = exports[id] as Kernel;
    this.#instances.set(id, kernel);
    if (arena.shared) this.#team?.install(kernel, id, entry.module, memory);
    if (zeros) {
      arena.bytes(zeros).fill(0);
      source.fill?.(new Int32Array(memory.buffer, zeros.ptr, TRIAL_BYTES / 4), zeros.ptr);
      const args = source.trial(zeros.ptr);
      warmUp(() => kernel(...args));
      entry.warm = true;
      arena.free(zeros);
    }
    return kernel;
  }

  /** Kernels on one memory: to make one may end those made before, then all are made once more. */
  all(sources: readonly KernelSource[]): Kernel[] {
    for (;;) {
      const { generation } = this;
      const kernels = sources.map((source) => this.get(source));
      if (generation === this.generation) return kernels;
    }
  }
}

/** What trial calls work on. */
export const TRIAL_BYTES = 65536;
