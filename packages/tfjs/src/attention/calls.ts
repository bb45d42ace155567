/** Attention on a device of @msd/core's that lives in memory: calls are bound once per form, then told where operands lie. */
import {
  type ArenaHandle,
  type AttentionOp,
  type AttentionRun,
  attentionWork,
  createKvCache,
  type KvCache,
  type KvShape,
  type KvType,
  type WasmBackend,
} from '@msd/core';
import type { AttentionTensors } from '../kernels/attention.ts';
import type { Host, Memory, Places } from '../kernels/host.ts';
import { hostOf } from '../kernels/hosts.ts';
import { perHost } from '../kernels/per-host.ts';
import type { TfNamespace } from '../tf.ts';
import { type AttentionOperands, slicesOf } from './slices.ts';

type Call = ReturnType<WasmBackend['bind']>;

interface Bound {
  readonly call: Call;
  /** What the run that is going on brings. */
  run?: AttentionRun<KvCache> | undefined;
}

/** Forms and caches of calls that are kept: a model has few. */
const MOST = 16;

/** Attentions of one device. */
export class AttentionCalls {
  readonly #device: WasmBackend;
  readonly #places: Places;
  readonly #calls = new Map<string, Bound>();
  /** Of calls without a cache: empty in between. */
  readonly #caches = new Map<string, KvCache>();

  constructor({ device, places }: Memory) {
    this.#device = device;
    this.#places = places;
  }

  createKvCache(shape: KvShape): KvCache {
    return createKvCache(this.#device, shape);
  }

  /** @param cache keys and values are added to it; a type: they are kept in that form until it returns */
  run(op: AttentionOp, tensors: AttentionTensors, cache: KvCache | KvType): void {
    if (typeof cache === 'string') this.#runOnce(op, tensors, cache);
    else this.#runCached(op, tensors, cache);
  }

  #runOnce(op: AttentionOp, tensors: AttentionTensors, type: KvType): void {
    const headBytes = this.#cacheFor({ ...op, batch: 1, kvHeads: 1 }, type).bytesFor(op.newKeys);
    this.#places(operandsOf(tensors), (operands) => {
      for (const slice of slicesOf(op, operands, headBytes, this.#device.arena)) {
        const cache = this.#cacheFor(slice.op, type);
        try {
          this.#call(slice.op, slice.operands, { cache });
        } finally {
          cache.reset();
        }
      }
    });
  }

  /** Bias and mask grow with the cache: they are handed over anew, so that every step of a decoder is the same call. */
  #runCached(op: AttentionOp, tensors: AttentionTensors, cache: KvCache): void {
    const { bias, mask, ...others } = tensors;
    const { arena } = this.#device;
    const { bias: biasDims, mask: maskDims, ...form } = op;
    // Copies: where pages are allocated, a heap may grow, and its views die.
    this.#places([bias, mask], ([biasAt, maskAt]) =>
      this.#runWhole(
        form,
        { ...others, bias: undefined, mask: undefined },
        {
          cache,
          bias: biasDims && biasAt && { dims: biasDims, data: arena.float32(biasAt).slice() },
          mask: maskDims && maskAt && { dims: maskDims, data: arena.bytes(maskAt).slice() },
        },
      ),
    );
  }

  #runWhole(op: AttentionOp, tensors: AttentionTensors, run: AttentionRun<KvCache>): void {
    this.#places(operandsOf(tensors), (operands) => this.#call(op, operands, run));
  }

  #call(op: AttentionOp, operands: AttentionOperands, run: AttentionRun<KvCache>): void {
    const bound = this.#boundFor(op, operands);
    bound.run = run;
    try {
      this.#device.run(bound.call, { operands: operands as ArenaHandle[] }); // absent ones stay absent
    } finally {
      bound.run = undefined;
    }
  }

  #boundFor(op: AttentionOp, operands: AttentionOperands): Bound {
    const key = JSON.stringify([op, operands.map((operand) => operand !== undefined)]);
    const known = this.#calls.get(key);
    if (known) return known;
    const state: { run?: AttentionRun<KvCache> | undefined } = {};
    const work = attentionWork(op, () => state.run!);
    const bound = Object.assign(state, { call: this.#device.bind(work, operands) });
    keep(this.#calls, key, bound);
    return bound;
  }

  #cacheFor({ batch, kvHeads, headSize, valueSize }: AttentionOp, type: KvType): KvCache {
    const shape: KvShape = { batch, kvHeads, headSize, valueSize, type };
    const key = JSON.stringify(shape);
    const known = this.#caches.get(key);
    if (known) return known;
    const cache = this.createKvCache(shape);
    keep(this.#caches, key, cache)?.dispose();
    return cache;
  }
}

const operandsOf = ({ q, k, v, sinks, bias, mask, out }: AttentionTensors) => [q, k, v, sinks, bias, mask, out];

/** Of tfjs's current backend; `undefined` if MSD has no kernels for attention there. */
export const attentionCalls = (tf: TfNamespace): AttentionCalls | undefined =>
  callsOf(hostOf(tf.backend(), tf.getBackend()));

export const callsOf: (host: Host | undefined) => AttentionCalls | undefined = /* @__PURE__ */ perHost(
  (memory) => new AttentionCalls(memory),
);

/** Adds an entry. @returns the oldest one, if there were too many */
function keep<T>(map: Map<string, T>, key: string, value: T): T | undefined {
  map.set(key, value);
  if (map.size <= MOST) return undefined;
  const [oldest, gone] = map.entries().next().value!;
  map.delete(oldest);
  return gone;
}
