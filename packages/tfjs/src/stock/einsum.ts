/**
 * Einsum where tfjs has none (wasm): a batched product of operands that are summed and transposed for it.
 *
 *   batch        in both operands and in the result
 *   free         in one operand and in the result
 *   contracted   in both operands, not in the result
 *   alone        in one operand only: summed over first
 */
import type * as tfc from '@tensorflow/tfjs-core';
import { sizeOf } from '../shapes.ts';
import type { TensorInfo } from '../tf.ts';
import { type RunStock, withStock } from './run.ts';

/** A tensor, and which index each of its dimensions is. */
interface Term {
  readonly x: TensorInfo;
  readonly indices: readonly number[];
}

/** @param util tfjs's reading of equations: what it refuses is refused with its messages */
export function einsum(
  util: typeof tfc.backend_util,
  operands: readonly TensorInfo[],
  equation: string,
  backendName: string,
  backend: unknown,
): TensorInfo {
  const { allDims, summedDims, idDims } = util.decodeEinsumEquation(equation, operands.length);
  util.checkEinsumDimSizes(allDims.length, idDims, operands as tfc.Tensor[]);
  const out = allDims.map((_, index) => index).filter((index) => !summedDims.includes(index));
  return withStock(backendName, backend, (run) => {
    const dtype = operands.every((x) => x.dtype === 'int32') ? 'int32' : 'float32';
    const terms = operands.map((x, i): Term => {
      const cast = x.dtype === dtype ? x : run('Cast', { x }, { dtype });
      return { x: cast, indices: idDims[i]! };
    });
    if (operands.some(({ shape }) => shape.includes(0))) {
      const shape = out.map((index) => sizeOf(dimsOf(terms.find(({ indices }) => indices.includes(index))!, [index])));
      return run('Fill', {}, { shape, value: 0, dtype });
    }
    const [a, b] = terms.map((term, i) => {
      const needed = new Set([...out, ...terms.flatMap(({ indices }, j) => (i === j ? [] : indices))]);
      return summedOver(run, term, (index) => !needed.has(index));
    }) as [Term, Term?];
    return arranged(run, b ? product(run, a, b, new Set(out)) : a, out).x;
  });
}

const dimsOf = ({ x, indices }: Term, wanted: readonly number[]): number[] =>
  wanted.map((index) => x.shape[indices.indexOf(index)]!);

function summedOver(run: RunStock, term: Term, isAlone: (index: number) => boolean): Term {
  const axis = term.indices.flatMap((index, i) => (isAlone(index) ? [i] : []));
  if (axis.length === 0) return term;
  const x = run('Sum', { x: term.x }, { axis, keepDims: false });
  return { x, indices: term.indices.filter((index) => !isAlone(index)) };
}

function arranged(run: RunStock, term: Term, order: readonly number[]): Term {
  const perm = order.map((index) => term.indices.indexOf(index));
  if (perm.every((from, to) => from === to)) return term;
  return { x: run('Transpose', { x: term.x }, { perm }), indices: order };
}

/** [batch…, free of a…, free of b…] */
function product(run: RunStock, a: Term, b: Term, out: ReadonlySet<number>): Term {
  const isShared = (index: number) => a.indices.includes(index) && b.indices.includes(index);
  const batch = a.indices.filter((index) => isShared(index) && out.has(index));
  const contracted = a.indices.filter((index) => isShared(index) && !out.has(index));
  const [aFree, bFree] = [a, b].map(({ indices }) => indices.filter((index) => !isShared(index))) as [
    number[],
    number[],
  ];
  const [B, M, K, N] = [
    sizeOf(dimsOf(a, batch)),
    sizeOf(dimsOf(a, aFree)),
    sizeOf(dimsOf(a, contracted)),
    sizeOf(dimsOf(b, bFree)),
  ];
  const indices = [...batch, ...aFree, ...bFree];
  const shape = [...dimsOf(a, [...batch, ...aFree]), ...dimsOf(b, bFree)];
  if (a.x.dtype !== 'float32') {
    const left = arranged(run, a, [...batch, ...aFree, ...contracted]).x;
    const right = arranged(run, b, [...batch, ...bFree, ...contracted]).x;
    const all = run('Multiply', { a: { ...left, shape: [B, M, 1, K] }, b: { ...right, shape: [B, 1, N, K] } });
    return { x: { ...run('Sum', { x: all }, { axis: [3], keepDims: false }), shape }, indices };
  }
  // tfjs's wasm backend is fast for one product of matrices that lie as they are; else transposed ones cost it nothing more.
  const mayBeTransposed = B > 1;
  const lies = (term: Term, order: readonly number[]) =>
    mayBeTransposed && order.every((index, i) => index === term.indices[i]);
  const transposeA = lies(a, [...batch, ...contracted, ...aFree]) && contracted.length > 0;
  const transposeB = lies(b, [...batch, ...bFree, ...contracted]) && contracted.length > 0;
  const left = arranged(run, a, transposeA ? a.indices : [...batch, ...aFree, ...contracted]).x;
  const right = arranged(run, b, transposeB ? b.indices : [...batch, ...contracted, ...bFree]).x;
  const operands = {
    a: { ...left, shape: transposeA ? [B, K, M] : [B, M, K] },
    b: { ...right, shape: transposeB ? [B, N, K] : [B, K, N] },
  };
  return { x: { ...run('BatchMatMul', operands, { transposeA, transposeB }), shape }, indices };
}
