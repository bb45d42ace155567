/** Products of floats: both operands computed, or weights that the file keeps in float. */
import { elementwiseOnWasm as elementwise, matMulOnWasm as matMulSpec } from '@msd/core/nn';
import type { Info } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { gemmAtLoad, matMulAtLoad } from './at-load.ts';
import { gemmOfIntegers, matMulOfIntegers } from './dequantized-product.ts';
import { emitOp } from './lowering.ts';
import { inferMatMul } from './mat-mul-shape.ts';
import type { NodeView, Operator } from './operator.ts';

type Inputs = readonly (Info | undefined)[];

/** Weights [K, N] of the file. */
function weightShape(matcher: Matcher, name: string): readonly [K: number, N: number] | undefined {
  const dims = matcher.tensor(name)?.dims;
  return dims?.length === 2 ? [dims[0]!, dims[1]!] : undefined;
}

function matchMatMul(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [a = '', b = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const refused = matcher.notFloat('A', a) ?? matcher.notFloat('B', b);
  if (refused !== undefined) return refused;
  const integers = matMulOfIntegers(view, matcher);
  const quantized = typeof integers === 'object' ? integers : matMulAtLoad(view, matcher);
  if (quantized !== undefined) return quantized;
  const weights = weightShape(matcher, b);
  return {
    op: 'float product',
    place: 'device',
    nodes: [node],
    inputs: [a, b],
    outputs: [y],
    resources: matcher.constants([a, b]),
    ...(weights && { product: { K: weights[0], N: weights[1], quantized: false } }),
    ...(typeof integers === 'string' && { note: integers }),
    lower(to) {
      emitOp(to, matMulSpec, {}, [to.slot(a), to.slot(b)], [y]);
    },
  };
}

function inferGemm(node: NodeView, [a, b]: Inputs): [Info] {
  const rows = a?.dims?.at(node.int('transA', 0) ? 1 : 0);
  const columns = b?.dims?.at(node.int('transB', 0) ? 0 : 1);
  const dims = rows === undefined || columns === undefined ? undefined : [rows, columns];
  return [{ elemType: a?.elemType ?? 0, dims }];
}

/** A · B (+ C). What Gemm can do besides, nobody's layers do. */
function matchGemm(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [a = '', b = '', c = ''] = node.inputs;
  const [y = ''] = node.outputs;
  const refused =
    matcher.notFloat('A', a) ?? matcher.notFloat('B', b) ?? (c === '' ? undefined : matcher.notFloat('C', c));
  if (refused !== undefined) return refused;
  if (view.int('transA', 0) !== 0) return 'A is transposed';
  const integers = gemmOfIntegers(view, matcher);
  const quantized = typeof integers === 'object' ? integers : gemmAtLoad(view, matcher);
  if (quantized !== undefined) return quantized;
  if (view.float('alpha', 1) !== 1 || (c !== '' && view.float('beta', 1) !== 1)) return 'alpha or beta is not 1';
  const transposed = view.int('transB', 0) !== 0;
  const shape = weightShape(matcher, b);
  if (transposed && !shape) return 'B is transposed, and computed';
  const weights = transposed ? matcher.values(b, true) : undefined;
  const [K = 0, N = 0] = transposed ? [...shape!].reverse() : (shape ?? []);
  const inputs = weights ? [a, c] : [a, b, c];
  return {
    op: 'float product',
    place: 'device',
    nodes: [node],
    inputs,
    outputs: [y],
    resources: [...matcher.constants(inputs), ...(weights ? [weights] : [])],
    ...(shape && { product: { K, N, quantized: false } }),
    ...(typeof integers === 'string' && { note: integers }),
    lower(to) {
      const operands = [to.slot(a), to.slot(weights?.key ?? b)];
      if (c === '') emitOp(to, matMulSpec, {}, operands, [y]);
      else {
        const [product] = emitOp(to, matMulSpec, {}, operands, []);
        const sum = { nodes: [{ fn: 'Add' as const, args: [0, 1] }], outputs: [2] };
        emitOp(to, elementwise, sum, [product, to.slot(c)], [y]);
      }
    },
  };
}

export const matMulOperators: readonly Operator[] = [
  {
    name: 'MatMul',
    infer: inferMatMul((a) => a?.elemType ?? 0),
    match: matchMatMul,
  },
  {
    name: 'Gemm',
    attributes: ['alpha', 'beta', 'transA', 'transB'],
    infer: inferGemm,
    match: matchGemm,
  },
];
