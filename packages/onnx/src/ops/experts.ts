/**
 * com.microsoft.QMoE: a router's scores choose k experts for each row, and only their weights are multiplied.
 *
 *   y[m] = Σ over the chosen e: softmax(the chosen scores)[e] · (down_e · act(up_e · x[m] + bias) + bias)
 */

import type { ActivationId } from '@msd/core';
import { dataTypeName, isFloat, UINT8 } from '../data-types.ts';
import { countOf } from '../dims.ts';
import type { Info } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import type { TensorRef } from '../read/tensor.ts';
import { type ExpertRows, type ExpertTensors, expertBlock, expertMatrix } from '../weights/experts.ts';
import type { Matrix } from '../weights/matrix.ts';
import type { Expert, Resource } from './lowering.ts';
import { checkCount } from './mat-mul-nbits.ts';
import type { NodeView, Operator } from './operator.ts';

/** Activations of one operand, by the attribute `activation_type`; what ONNX Runtime calls gelu is the one through tanh. */
const ACTIVATIONS: Readonly<Record<string, ActivationId | null>> = {
  relu: 'relu',
  gelu: 'gelu_tanh',
  silu: 'silu',
  identity: null,
};

function infer(_: NodeView, [x]: readonly (Info | undefined)[]): [Info] {
  return [{ elemType: x?.elemType ?? 0, dims: x?.dims }];
}

/** The tensors of one of the two products, [experts, rows, K], or why they are not taken. */
function tensorsOf(
  view: NodeView,
  matcher: Matcher,
  what: string,
  [w = '', s = '', z = '']: readonly string[],
  blockSize: number,
  bits: 2 | 4 | 8,
): ExpertTensors | string {
  const [data, scales, zeroPoints] = [matcher.tensor(w), matcher.tensor(s), matcher.tensor(z)];
  if (!data) return `${what} weights are not constant`;
  if (!scales) return `${what} scales are not constant`;
  if (z !== '' && !zeroPoints) return `${what} zero points are not constant`;
  if (data.elemType !== UINT8) return `${what} weights are ${dataTypeName(data.elemType)}`;
  if (!isFloat(scales.elemType)) return `${what} scales are ${dataTypeName(scales.elemType)}`;
  if (zeroPoints && zeroPoints.elemType !== UINT8)
    return `${what} zero points are ${dataTypeName(zeroPoints.elemType)}`;
  if (data.dims.length !== 3) return `${what} weights have shape [${data.dims.join(', ')}]`;
  const [experts, rows, bytes] = data.dims as [number, number, number];
  const K = (bytes * 8) / bits;
  const blocks = blockSize === 0 ? 1 : Math.ceil(K / blockSize);
  checkCount(view.node, `${what} scales`, scales, experts * rows * blocks);
  // ONNX Runtime then takes them for packed along rows.
  if (zeroPoints && blocks === 1) return `${what} zero points of whole rows`;
  if (zeroPoints)
    checkCount(view.node, `${what} zero points`, zeroPoints, experts * rows * Math.ceil((blocks * bits) / 8));
  const tensors = { bits, K, blockSize, data, scales, zeroPoints };
  if (expertBlock(tensors) === undefined) return `${what} scales of ${blockSize || K} k in ${bits} bits`;
  return matcher.refusedScale(scales, `a scale of ${what}`) ?? tensors;
}

function refusedAttribute(view: NodeView): string | undefined {
  const bits = view.int('expert_weight_bits', 4);
  const blockSize = view.int('block_size', 0);
  if (bits !== 2 && bits !== 4 && bits !== 8) return `${bits} bits`;
  if (blockSize !== 0 && !(blockSize >= 16 && Number.isInteger(Math.log2(blockSize))))
    return `block_size ${blockSize} is not a power of two of at least 16`;
  if (view.int('use_sparse_mixer', 0) !== 0) return 'the sparse mixer';
  if (view.string('quant_type', 'int') !== 'int') return `quant_type ${view.string('quant_type', 'int')}`;
  if (view.int('weights_prepacked', 0) > 0) return 'weights are prepacked';
  return undefined;
}

function match(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  if (view.version !== 1) return `version ${view.version} of com.microsoft is not known`;
  const refused = refusedAttribute(view);
  if (refused !== undefined) return refused;
  const [x = '', scores = '', w1 = '', s1 = '', b1 = '', w2 = '', s2 = '', b2 = '', ...more] = node.inputs;
  const [w3 = '', s3 = '', b3 = '', z1 = '', z2 = '', z3 = '', weights = ''] = more;
  const [y = ''] = node.outputs;
  if (x === '' || scores === '' || y === '') return 'the input, scores or the result are omitted';
  if ([w3, s3, b3, z3].some((name) => name !== '')) return 'a third product';
  const type = view.string('activation_type', 'relu');
  const isGated = type === 'swiglu';
  if (!isGated && !Object.hasOwn(ACTIVATIONS, type)) return `activation ${type}`;
  if (view.int('swiglu_fusion', 0) !== (isGated ? 1 : 0)) return `swiglu_fusion ${view.int('swiglu_fusion', 0)}`;
  const refusedX =
    matcher.notFloat('the input', x) ??
    matcher.notFloat('scores', scores) ??
    (weights === '' ? undefined : matcher.notFloat('router_weights', weights));
  if (refusedX !== undefined) return refusedX;

  const bits = view.int('expert_weight_bits', 4) as 2 | 4 | 8;
  const blockSize = view.int('block_size', 0);
  const up = tensorsOf(view, matcher, 'fc1', [w1, s1, z1], blockSize, bits);
  if (typeof up === 'string') return up;
  const down = tensorsOf(view, matcher, 'fc2', [w2, s2, z2], blockSize, bits);
  if (typeof down === 'string') return down;
  const [experts, rows] = up.data.dims as [number, number, number];
  const [hidden, inner] = [up.K, down.K];
  if (rows !== inner * (isGated ? 2 : 1) || down.data.dims[0] !== experts || down.data.dims[1] !== hidden)
    return `weights have shapes [${up.data.dims.join(', ')}] and [${down.data.dims.join(', ')}]`;
  const k = view.int('k', 1);
  if (!(k >= 1 && k <= experts)) return `k ${k} of ${experts} experts`;
  const biases = [
    [b1, experts * rows],
    [b2, experts * hidden],
  ] as const;
  for (const [name, count] of biases) {
    const tensor = matcher.tensor(name);
    if (name === '') continue;
    if (!tensor || !isFloat(tensor.elemType)) return 'a bias is not a constant of floats';
    checkCount(node, 'bias', tensor, count);
  }

  const matrices: Resource[] = [];
  const keyOf = (tensors: ExpertTensors, of: ExpertRows): string => {
    const matrix: Matrix = expertMatrix(tensors, of);
    matrices.push({ kind: 'matrix', key: matrix.key, matrix });
    return matrix.key;
  };
  const each: Expert[] = Array.from({ length: experts }, (_, e) => {
    const half = (i: number) => keyOf(up, { first: e * rows + i, count: inner, stride: 2 });
    return {
      up: isGated ? [half(0), half(1)] : [keyOf(up, { first: e * rows, count: inner, stride: 1 })],
      down: keyOf(down, { first: e * hidden, count: hidden, stride: 1 }),
    };
  });
  const upBias =
    b1 === '' ? undefined : biasResource(matcher.tensor(b1)!, isGated ? [experts, inner, 2] : [experts, inner]);
  const downBias = b2 === '' ? undefined : biasResource(matcher.tensor(b2)!, [experts, hidden]);
  const constants = [upBias, downBias].filter((bias) => bias !== undefined);
  return {
    op: 'experts',
    place: 'device',
    nodes: [node],
    inputs: [x, scores, weights],
    outputs: [y],
    resources: [...matrices, ...constants, ...matcher.constants([x, scores, weights])],
    product: { N: hidden, K: k * (rows + inner), quantized: true },
    lower(to) {
      const { dims } = to.info(x);
      const M = countOf(dims.slice(0, -1));
      if (dims.at(-1) !== hidden) view.fail('the input', `[..., ${hidden}]`, `[${dims.join(', ')}]`);
      for (const name of weights === '' ? [scores] : [scores, weights]) {
        const of = to.info(name).dims;
        if (of.length !== 2 || of[0] !== M || of[1] !== experts)
          view.fail(name === scores ? 'scores' : 'router_weights', `[${M}, ${experts}]`, `[${of.join(', ')}]`);
      }
      const room = (...size: number[]) => to.result('', 'f32', size);
      to.step({
        kind: 'experts',
        x: to.slot(x),
        scores: to.slot(scores),
        k,
        weights:
          weights === ''
            ? undefined
            : { slot: to.slot(weights), normalized: view.int('normalize_routing_weights', 0) === 1 },
        experts: each,
        inner,
        activation: ACTIVATIONS[type] ?? undefined,
        gate: isGated
          ? {
              alpha: view.float('activation_alpha', 1),
              beta: view.float('activation_beta', 0),
              limit: view.float('swiglu_limit', Number.POSITIVE_INFINITY),
            }
          : undefined,
        upBias: upBias && to.slot(upBias.key),
        downBias: downBias && to.slot(downBias.key),
        room: {
          weights: room(M, k),
          rows: room(M, hidden),
          up: each[0]!.up.map(() => room(M, inner)),
          act: room(M, inner),
          down: room(M, hidden),
        },
        y: to.result(y, 'f32', dims),
      });
    },
  };
}

/** Elements [experts, inner, 2] are put side by side: [experts, 2, inner]. */
function biasResource(tensor: TensorRef, dims: readonly number[]): Extract<Resource, { kind: 'values' }> {
  const transposed = dims.length === 3;
  const key = `${tensor.name}${transposed ? ' of gates, of values' : ''}`;
  return { kind: 'values', key, info: { elemType: tensor.elemType, dims }, tensor, transposed };
}

export const expertOperators: readonly Operator[] = [
  {
    name: 'com.microsoft.QMoE',
    attributes: [
      'k',
      'activation_type',
      'activation_alpha',
      'activation_beta',
      'swiglu_fusion',
      'swiglu_limit',
      'normalize_routing_weights',
      'use_sparse_mixer',
      'expert_weight_bits',
      'block_size',
      'quant_type',
      'weights_prepacked',
    ],
    infer,
    match,
  },
];
