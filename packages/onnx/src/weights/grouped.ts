/**
 * Weights whose k belong to groups in any order (`g_idx` of GPTQ's act-order), with one scale for each group. Packed, the k of a group
 * lie side by side; activations are put into the same order before they are multiplied. A group that fills no whole block has weights
 * of 0 behind it.
 */
import type { QuantizedWeights } from '@msd/core';
import { type Matrix, made } from './matrix.ts';
import { codeAt, putCode } from './numbers.ts';

export interface Groups {
  /** Which k of the file each k is; −1: none. */
  readonly order: Int32Array;
  /** The group that each block belongs to. */
  readonly blocks: Int32Array;
}

/**
 * @param groupOf of each k
 * @returns `undefined` if groups are blocks as they lie; a reason if there are no such groups
 */
export function groupsOf(groupOf: ArrayLike<number>, K: number, blockSize: number): Groups | string | undefined {
  const count = Math.ceil(K / blockSize);
  const members: number[][] = Array.from({ length: count }, () => []);
  let isPlain = true;
  for (let k = 0; k < K; k++) {
    const group = members[groupOf[k]!];
    if (!group) return `g_idx has ${groupOf[k]} where there are ${count} groups`;
    group.push(k);
    isPlain &&= groupOf[k] === Math.floor(k / blockSize);
  }
  if (isPlain) return undefined;
  const blocks = members.flatMap((group, g) => new Array<number>(Math.ceil(group.length / blockSize)).fill(g));
  const order = new Int32Array(blocks.length * blockSize).fill(-1);
  let at = 0;
  for (const group of members) {
    order.set(group, at);
    at += Math.ceil(group.length / blockSize) * blockSize;
  }
  return { order, blocks: Int32Array.from(blocks) };
}

/** The matrix of the activations in their new order. @param bits of its codes */
export function grouped(matrix: Matrix, bits: 2 | 4 | 8, key: string, { order, blocks }: Groups): Matrix {
  const blockSize = matrix.blockSize!;
  const before = Math.ceil(matrix.K / blockSize);
  const K = order.length;
  const rowBytes = (before * blockSize * bits) / 8;
  const zeroBytes = Math.ceil((before * bits) / 8);
  return made(matrix, {
    key: JSON.stringify([matrix.key, key]),
    K,
    open() {
      const rows = matrix.open();
      let staged = new Uint8Array(0);
      return (n, count, into): QuantizedWeights => {
        if (staged.length < count * rowBytes) staged = new Uint8Array(count * rowBytes);
        const { data, scales, zeroPoints, ...rest } = rows(n, count, staged);
        const codes = into.subarray(0, (count * K * bits) / 8).fill(0);
        const zeros = new Uint8Array(count * Math.ceil((blocks.length * bits) / 8));
        const Scales = scales instanceof Uint16Array ? Uint16Array : Float32Array;
        const moved = new Scales(count * blocks.length);
        for (let row = 0; row < count; row++) {
          const [from, to] = [row * rowBytes, (row * K * bits) / 8];
          const zerosTo = (row * zeros.length) / count;
          for (let b = 0; b < blocks.length; b++) {
            const group = blocks[b]!;
            moved[row * blocks.length + b] = scales[row * before + group]!;
            const zero = zeroPoints ? codeAt(zeroPoints, row * zeroBytes, group, bits) : 2 ** (bits - 1);
            putCode(zeros, zerosTo, b, bits, zero);
            for (let k = b * blockSize; k < (b + 1) * blockSize; k++)
              putCode(codes, to, k, bits, order[k]! < 0 ? zero : codeAt(data, from, order[k]!, bits));
          }
        }
        return { ...rest, K, data: codes, scales: moved, ...(zeroPoints && { zeroPoints: zeros }) };
      };
    },
  });
}
