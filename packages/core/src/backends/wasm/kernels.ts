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

/** What all arenas of a page share of a kernel. */
interface Compiled {
  readonly module: WebAssembly.Module;
  /** Waits until the engine has optimised it. */
  readonly settle: () => void;
}

const compiled = /* @__PURE__ */ new Map<string, Compiled>();

function compile(source: KernelSource, shared: boolean): Compiled {
  const key = shared ? `${source.id}_shared` : source.id;
  const known = compiled.get(key);
  if (known) return known;
  const emitted = new Module();
  source.emit(emitted);
  const module = new WebAssembly.Module(emitted.toBytes({ shared }));
  const entry = { module, settle: warmUp(trialOf(source, module, shared)) };
  compiled.set(key, entry);
  return entry;
}

/** Trial calls use 64 KiB on the second page of a memory, because address 0 stands for an absent operand. */
const PAGE = 65536;
const trialMemories: WebAssembly.Memory[] = [];

/**
 * A kernel's trial call. All trials of the page share its memory, which is prepared again for every series of calls.
 *
 * @param rows of gemm; default: the family's choice
 */
function trialOf(source: KernelSource, module: WebAssembly.Module, shared: boolean, rows?: number): () => () => void {
  const memory = (trialMemories[Number(shared)] ??= new WebAssembly.Memory({ initial: 2, maximum: 2, shared }));
  const kernel = new WebAssembly.Instance(module, { env: { memory } }).exports[source.id] as Kernel;
  const args = source.trial(PAGE, rows);
  return () => {
    const words = new Int32Array(memory.buffer, PAGE).fill(0);
    source.fill?.(words, PAGE);
    return () => kernel(...args);
  };
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

  /** A kernel on the memory that the arena has now. The engine is asked to optimise it the first time the page meets it. */
  get(source: KernelSource): Kernel {
    const { id } = source;
    const known = this.#instances.get(id);
    if (known) return known;
    const { memory, shared } = this.#arena;
    const { module } = compile(source, isShared(memory));
    const kernel = new WebAssembly.Instance(module, { env: { memory } }).exports[id] as Kernel;
    this.#instances.set(id, kernel);
    if (shared) this.#team?.install(kernel, id, module, memory);
    return kernel;
  }

  /** Waits until the engine has optimised a kernel, if nobody has waited yet. */
  settle(source: KernelSource): void {
    compile(source, isShared(this.#arena.memory)).settle();
  }

  /** Trial calls of kernels that are optimised, for measurements. */
  trials(sources: readonly KernelSource[], rows: number): (() => void)[] {
    const shared = isShared(this.#arena.memory);
    const entries = sources.map((source) => compile(source, shared));
    for (const { settle } of entries) settle();
    return sources.map((source, i) => trialOf(source, entries[i].module, shared, rows)());
  }
}
