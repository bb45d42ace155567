/**
 * append_<type>: rows of keys and values into the pages of a cache. WebAssembly SIMD128.
 *
 * work     words of work.ts
 * first    pairs [first, first + count) of a sequence and a KV head
 * thread   which one: each has scratch of its own
 *
 * When key 63 of page 0 is written, the factors of the channels are computed.
 * (docs/attention.md)
 */
import { limitOf } from '../decompose/contract.ts';
import { overLanes, ROUNDING } from '../decompose/integers.wasm.ts';
import { i32Params, type KernelSpec } from '../kernel-spec.ts';
import { type Func, f32, f32x4, type I32, i32, i32x4, type Local, type V128, v128 } from '../wasm/emitter.ts';
import { advance, range } from '../wasm/loops.ts';
import { type KvType, kvTypes, PAGE_KEYS } from './contract.ts';
import { findFactors } from './factors.wasm.ts';
import { integersOf, rowScale } from './integers.wasm.ts';
import { PANEL, perLane } from './page.ts';
import { eachElement } from './rows.wasm.ts';
import { SIXTEEN } from './task.wasm.ts';
import { fillAppendTrial } from './trial.ts';
import { ADDED, APPEND, wordsAt } from './work.ts';

export interface AppendOptions {
  readonly type: KvType;
}

const ARGS = ['work', 'first', 'count', 'thread'] as const;
const PAGE_BITS = Math.log2(PAGE_KEYS);

export const appendSpec: KernelSpec<AppendOptions, (typeof ARGS)[number]> = {
  family: 'append',
  args: ARGS,
  id: ({ type }) => `append_${type}`,
  emit(module, { type }) {
    const neighbours = perLane(type); // keys of V, channels of K
    module.func(appendSpec.id({ type }), i32Params(ARGS), (f, p) => {
      const word = wordsAt(APPEND, p.work);
      const scratch = f.let(i32.add(word('scratch'), i32.mul(p.thread, word('scratchStride'))));
      const rows = rowsOf(f, scratch, i32.add(scratch, word('atIntegers')), type);
      const keySize = f.let(i32.and(i32.add(word('headSize'), 3), -4));
      const panelsOfV = f.let(i32.shrU(i32.add(word('valueSize'), PANEL - 1), Math.log2(PANEL)));
      f.repeat(p.count, () => {
        const batch = f.let(i32.divU(p.first, word('kvHeads')));
        const head = f.let(i32.remU(p.first, word('kvHeads')));
        const sequence = f.let(i32.add(word('sequences'), i32.mul(batch, 4 * ADDED.length)));
        const table = f.let(i32.add(word('table'), i32.mul(p.first, word('tableRow'))));
        const from = (name: 'k' | 'v') =>
          f.let(i32.add(i32.add(word(name), i32.mul(batch, word(`${name}Batch`))), i32.mul(head, word(`${name}Head`))));
        const [k, v] = [from('k'), from('v')];
        const t = f.let(i32.load(sequence));
        f.repeat(i32.load(sequence, 4), () => {
          const page = f.let(i32.load(i32.add(table, i32.shl(i32.shrU(t, PAGE_BITS), 2))));
          const slot = f.let(i32.and(t, PAGE_KEYS - 1));
          const isLater = f.let(i32.geU(t, PAGE_KEYS));
          const place = (name: 'firstV' | 'firstVs', later: 'v0' | 'vs') =>
            i32.add(page, i32.select(isLater, word(later), word(name)));
          addKey(page, slot, isLater, i32.load(table));
          addValue(f.let(place('firstV', 'v0')), f.let(place('firstVs', 'vs')), slot);
          advance(k, word('kRow'));
          advance(v, word('vRow'));
          advance(t, 1);
        });
        advance(p.first, 1);

        function addKey(page: Local<'i32'>, slot: Local<'i32'>, isLater: I32, first: I32) {
          /** Of the key's lane in step 0. */
          const lane = (steps: I32) =>
            f.let(
              i32.add(
                page,
                i32.add(i32.shl(i32.mul(i32.shrU(slot, 4), steps), 6), i32.shl(i32.and(slot, PANEL - 1), 2)),
              ),
            );
          const asFloats = () => {
            const to = lane(keySize);
            rows.copy(k, word('headSize'));
            const x = f.let(rows.x);
            f.repeat(word('headSize'), () => {
              f.storeI32(to, i32.load(x));
              advance(x, 4);
              advance(to, 4 * PANEL);
            });
          };
          if (type === 'float') return asFloats();
          f.when(
            isLater,
            () => {
              rows.copy(k, word('headSize'), i32.add(first, word('firstIc')));
              f.storeF32(i32.add(i32.add(page, word('ks')), i32.shl(slot, 2)), rows.integers(keySize));
              const steps = f.let(i32.divU(keySize, neighbours));
              const [to, q] = [lane(steps), f.let(rows.q)];
              f.repeat(steps, () => {
                f.storeI32(to, type === 'int16' ? i32.load(q) : fourCodes(q));
                advance(q, 2 * neighbours);
                advance(to, 4 * PANEL);
              });
            },
            () => {
              asFloats();
              f.when(i32.and(word('findsFactors'), i32.eq(slot, PAGE_KEYS - 1)), () =>
                findFactors(f, {
                  page,
                  channels: word('headSize'),
                  keySize,
                  factors: i32.add(page, word('firstKc')),
                  inverses: i32.add(page, word('firstIc')),
                  rotarySize: word('rotarySize'),
                  isInterleaved: word('isInterleaved'),
                }),
              );
            },
          );
        }

        function addValue(at: Local<'i32'>, scales: Local<'i32'>, slot: Local<'i32'>) {
          rows.copy(v, word('valueSize'));
          const inLane = i32.and(slot, neighbours - 1);
          // gemm's order of bytes: 0 2 1 3
          const byte =
            type === 'int8' ? i32.or(i32.shl(i32.and(inLane, 1), 1), i32.shrU(inLane, 1)) : i32.shl(inLane, 1);
          const to = f.let(
            i32.add(i32.add(at, byte), i32.shl(i32.shrU(slot, Math.log2(neighbours)), Math.log2(4 * PANEL))),
          );
          if (type !== 'float')
            f.storeF32(i32.add(scales, i32.shl(slot, 2)), rows.integers(i32.shl(panelsOfV, Math.log2(PANEL))));
          const from = f.let(type === 'float' ? rows.x : rows.q);
          f.repeat(panelsOfV, () => {
            for (const c of range(PANEL)) {
              if (type === 'float') f.storeI32(to, i32.load(from, 4 * c), 4 * c);
              else if (type === 'int16') f.storeI16(to, i32.load16U(from, 2 * c), 4 * c);
              else f.storeI8(to, i32.add(i32.load16U(from, 2 * c), 128), 4 * c);
            }
            advance(from, PANEL * (type === 'float' ? 4 : 2));
            advance(to, (PAGE_KEYS / neighbours) * 4 * PANEL);
          });
        }
      });

      /** Four i16 as codes q + 128, in gemm's order of bytes. */
      function fourCodes(q: I32): I32 {
        const code = (i: number) => i32.and(i32.add(i32.load16U(q, 2 * i), 128), 255);
        const [a, b, c, d] = [0, 2, 1, 3].map(code);
        return i32.or(i32.or(a, i32.shl(b, 8)), i32.or(i32.shl(c, 16), i32.shl(d, 24)));
      }
    });
  },
  trial: (_, at) => ({ work: at, first: 0, count: 1, thread: 0 }),
  fill: fillAppendTrial,
};

/** What ships: tests and benchmarks loop over it. */
export function* appendVariants(): Generator<AppendOptions> {
  for (const type of kvTypes) yield { type };
}

/** A row in scratch: copied with zeros after it, then as integers. */
function rowsOf(f: Func, floats: I32, integers: I32, type: KvType) {
  const x = f.let(floats);
  const q = f.let(integers);
  const toInteger = f.let(f32x4.const(ROUNDING));
  const absolute = f.let(i32x4.splat(i32.const(0x7fffffff)));
  const zero = f.let(v128.const16(0));
  return {
    x,
    q,
    /** @param factors what each element is multiplied by */
    copy(row: I32, count: I32, factors?: I32): void {
      const [read, write, factor] = [f.let(row), f.let(x), f.let(factors ?? row)];
      const [four, single] = [v128.load(read), f32.load(read)];
      eachElement(
        f,
        count,
        [read, write, factor],
        () => f.storeV128(write, factors ? f32x4.mul(four, v128.load(factor)) : four),
        () => f.storeF32(write, factors ? f32.mul(single, f32.load(factor)) : single),
      );
      for (const i of range(SIXTEEN / 4)) f.storeV128(write, zero, 16 * i);
    },
    /** Of `count` elements and zeros to the next 16. @returns their scale */
    integers(count: I32): Local<'f32'> {
      const at = f.let(x);
      const sixteens = f.let(i32.shrU(i32.add(count, SIXTEEN - 1), Math.log2(SIXTEEN)));
      const most = f.let(zero);
      f.repeat(i32.shl(sixteens, 2), () => {
        most.set(i32x4.maxU(most, v128.and(v128.load(at), absolute)));
        advance(at, 16);
      });
      const largest = f.let(overLanes(f, i32x4.maxU, most));
      const limit = limitOf(type === 'int8' ? 1 : 2);
      const { S, inverse } = rowScale(f, largest, limit);
      const store = (eights: readonly V128[], to: I32) => {
        for (const [i, eight] of eights.entries()) f.storeV128(to, eight, 16 * i);
        return undefined;
      };
      const making = { toInteger, more: toInteger, step: 32, store };
      integersOf(f, making, { from: x, to: q, sixteens, inverse: f.let(f32x4.splat(inverse)) });
      return S;
    },
  };
}
