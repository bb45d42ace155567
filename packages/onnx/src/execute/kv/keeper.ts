/**
 * Keys and values that outlive runs. A store is one cache of the device; a state is what a run left in it: the first
 * keys of a store, which do not change as long as somebody holds the state.
 *
 *   a run goes on from a state   if no state that somebody holds is longer, in the same store, whatever is behind is cut off;
 *                                else in a branch of it
 *   a store ends                 when nobody holds a state of it: tensors were disposed, or collected as garbage
 */
import type { KvCache, KvShape } from '@msd/core';
import { nextTask } from '../abort.ts';

interface KvStore {
  readonly cache: KvCache;
  readonly states: Set<KvState>;
}

/** Keys and values of one layer as a run left them. */
export interface KvState {
  /** Keys of each sequence. */
  readonly lengths: readonly number[];
  /** Tensors that stand for it. */
  holders: number;
  /** `undefined` when nobody holds it any more, or the session has ended. */
  store: KvStore | undefined;
}

/** One in so many runs lets other tasks run. */
const RUNS_PER_TURN = 128;

export class KvKeeper {
  readonly #create: (shape: KvShape) => KvCache;
  readonly #stores = new Set<KvStore>();
  /** Caches of attentions that keep nothing, by shape. */
  readonly #scratch = new Map<string, KvCache>();
  /** States left by the current run. */
  #fresh: KvState[] = [];
  /** Runs that left something since {@link turn}. */
  #runs = 0;
  /** States of tensors that nobody disposed: all tensors of a run are collected together, or none. */
  readonly #collected = new FinalizationRegistry<readonly KvState[]>((states) => {
    for (const state of states) this.#drop(state);
  });

  /** @param create makes an empty cache */
  constructor(create: (shape: KvShape) => KvCache) {
    this.#create = create;
  }

  /** Bytes of all pages; those that branches share count in each. */
  get byteLength(): number {
    let bytes = 0;
    for (const { cache } of this.#stores) bytes += cache.byteLength;
    for (const cache of this.#scratch.values()) bytes += cache.byteLength;
    return bytes;
  }

  /** Is it a state of this session? */
  has({ store }: KvState): boolean {
    return store !== undefined && this.#stores.has(store);
  }

  /** A cache for keys and values of one run. @param key of the shape */
  scratch(key: string, shape: KvShape): KvCache {
    let cache = this.#scratch.get(key);
    if (!cache) {
      cache = this.#create(shape);
      this.#scratch.set(key, cache);
    }
    cache.truncate(0);
    return cache;
  }

  /** Frees the memory of {@link scratch}. */
  clearScratch(): void {
    for (const cache of this.#scratch.values()) cache.dispose();
    this.#scratch.clear();
  }

  /** Like {@link extend}, from nothing. */
  create(shape: KvShape, added: readonly number[]): KvState {
    const store = this.#add(this.#create(shape));
    return this.#leave(store, added);
  }

  /**
   * Goes on after the first `past` keys of a state, which has as many: the run adds `added` keys for each sequence.
   * @returns the state after the run, with a cache that ends at `past`. It is the run's
   */
  extend({ store }: KvState, past: readonly number[], added: readonly number[]): KvState {
    const total = past.map((length, i) => length + added[i]!);
    if (isSame(store!.cache.lengths, past)) return this.#leave(store!, total);
    const isLonger = (state: KvState): boolean => state.lengths.some((length, i) => length > past[i]!);
    const from = [...store!.states].some(isLonger) ? this.#add(store!.cache.branch()) : store!;
    const state = this.#leave(from, total);
    from.cache.truncate(past);
    return state;
  }

  #add(cache: KvCache): KvStore {
    const store = { cache, states: new Set<KvState>() };
    this.#stores.add(store);
    return store;
  }

  #leave(store: KvStore, lengths: readonly number[]): KvState {
    const state: KvState = { lengths, holders: 0, store };
    store.states.add(state);
    this.#fresh.push(state);
    return state;
  }

  /**
   * Ends the run: states that it left and that nobody holds are dropped.
   * @param holder what all tensors of the run refer to
   */
  endRun(holder: object | undefined): void {
    const held: KvState[] = [];
    for (const state of this.#fresh) {
      if (state.holders > 0) held.push(state);
      else this.#drop(state);
    }
    this.#fresh = [];
    if (!holder || held.length === 0) return;
    this.#collected.register(holder, held);
    this.#runs++;
  }

  /** Is {@link turn} due before the next run? */
  get isDue(): boolean {
    return this.#runs >= RUNS_PER_TURN;
  }

  /**
   * Lets the engine report which tensors it has collected: it does so only between tasks, and a loop that only awaits
   * runs is a single task.
   */
  async turn(): Promise<void> {
    this.#runs = 0;
    await nextTask();
  }

  /** One tensor less refers to it. */
  release(state: KvState): void {
    state.holders--;
    if (state.holders === 0 && !this.#fresh.includes(state)) this.#drop(state);
  }

  /** Call it before the device's memory is freed. */
  close(): void {
    for (const { states } of this.#stores) for (const state of states) state.store = undefined;
    this.#stores.clear();
    this.#scratch.clear();
    this.#fresh = [];
  }

  #drop(state: KvState): void {
    const { store } = state;
    if (!store) return;
    state.store = undefined;
    store.states.delete(state);
    if (store.states.size > 0) return;
    this.#stores.delete(store);
    store.cache.dispose();
  }
}

const isSame = (a: readonly number[], b: readonly number[]): boolean => a.every((length, i) => length === b[i]);
