/**
 * LSTM with integers of the file: DynamicQuantizeLSTM, and LSTM whose weights a DequantizeLinear makes floats.
 *
 *   i, o, f, g = x[t] · Wᵀ + h · Rᵀ + bias        c = σ(f) · c + σ(i) · tanh(g)        h = σ(o) · tanh(c)
 */

import { dataTypeName, INT32, isFloat } from '../data-types.ts';
import type { Info, Size } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { elementCount, type TensorRef } from '../read/tensor.ts';
import { COLUMN_TYPES } from '../weights/columns.ts';
import type { Matrix } from '../weights/matrix.ts';
import { columnDirections, dequantizedDirections } from '../weights/recurrent.ts';
import type { Lowering, Resource, Slot } from './lowering.ts';
import type { NodeView, Operator } from './operator.ts';

/** What a gate's rows are of W, R and the bias: input, output, forget, cell. */
const GATES = 4;
/** Positions that are multiplied with W at a time. */
const STRIP = 128;

const DIRECTIONS: Readonly<Record<string, readonly boolean[]>> = {
  forward: [false],
  reverse: [true],
  bidirectional: [false, true],
};

/** @param hiddenAxis of R */
const infer =
  (hiddenAxis: number): Operator['infer'] =>
  (view, [x, , r]) => {
    const elemType = x?.elemType ?? 0;
    const [positions, weights] = view.int('layout', 0) === 0 ? [x?.dims, r?.dims] : [];
    if (positions?.length !== 3 || weights?.length !== 3)
      return view.node.outputs.map((): Info => ({ elemType, dims: undefined }));
    const [S, B] = positions as [Size, Size, Size];
    const [D, H] = [weights[0]!, weights[hiddenAxis]!];
    const last: Info = { elemType, dims: [D, B, H] };
    return [{ elemType, dims: [S, D, B, H] }, last, last];
  };

function refusedAttribute(view: NodeView, directions: number): string | undefined {
  const direction = view.string('direction', 'forward');
  if (!Object.hasOwn(DIRECTIONS, direction)) return `direction ${direction}`;
  if (DIRECTIONS[direction]!.length !== directions) return `weights of ${directions} directions, for ${direction}`;
  if (view.int('layout', 0) !== 0) return 'layout 1';
  if (view.int('input_forget', 0) !== 0) return 'input and forget gate are one';
  const activations = view.strings('activations') ?? [];
  const usual = ['sigmoid', 'tanh', 'tanh'];
  const isOther = activations.some((name, i) => name.toLowerCase() !== usual[i % usual.length]);
  return isOther ? `activations ${activations.join(', ')}` : undefined;
}

/** The matrices of both products, by direction. */
interface Layer {
  /** [4 · hidden, K of x] */
  readonly input: readonly Matrix[];
  /** [4 · hidden, hidden] */
  readonly own: readonly Matrix[];
}

function layerMatch(
  view: NodeView,
  matcher: Matcher,
  layer: Layer,
  inOrt: NonNullable<Match['product']>['inOrt'],
): Match | string {
  const { node } = view;
  const [x = '', , , b = '', lengths = '', h0 = '', c0 = '', peepholes = ''] = node.inputs;
  const [y = '', lastH = '', lastC = ''] = node.outputs;
  const { input, own } = layer;
  const D = own.length;
  const [hidden, K] = [own[0]!.K, input[0]!.K];
  const refused = refusedAttribute(view, D);
  if (refused !== undefined) return refused;
  if (lengths !== '' && matcher.info(lengths)?.elemType !== INT32) return 'sequence_lens are not int32';
  if (peepholes !== '') return 'peepholes';
  if (own[0]!.N !== GATES * hidden || input[0]!.N !== GATES * hidden || input.length !== D)
    return `weights have shapes [${input.length}, ${input[0]!.N}, ${K}] and [${D}, ${own[0]!.N}, ${hidden}]`;
  if (view.int('hidden_size', hidden) !== hidden) return `hidden_size ${view.int('hidden_size', hidden)} of ${hidden}`;
  for (const [what, name] of [
    ['X', x],
    ['initial_h', h0],
    ['initial_c', c0],
  ] as const) {
    const reason = name === '' && what !== 'X' ? undefined : matcher.notFloat(what, name);
    if (reason !== undefined) return reason;
  }
  const biases = b === '' ? undefined : (matcher.graph.folded?.get(b)?.tensor ?? matcher.tensor(b));
  if (b !== '' && (!biases || !isFloat(biases.elemType))) return 'the bias is no constant of floats';
  if (biases && elementCount(biases) !== 2 * D * GATES * hidden)
    return `the bias has shape [${biases.dims.join(', ')}]`;
  const bias = biases && biasResource(biases, D, GATES * hidden);
  const inputs = [x, lengths, h0, c0];
  const directions = DIRECTIONS[view.string('direction', 'forward')]!.map((isReversed, d) => ({
    isReversed,
    input: input[d]!.key,
    own: own[d]!.key,
  }));
  return {
    op: 'recurrent layer',
    place: 'device',
    nodes: [node],
    inputs,
    outputs: [y, lastH, lastC],
    resources: [
      ...[...input, ...own].map((matrix): Resource => ({ kind: 'matrix', key: matrix.key, matrix })),
      ...(bias ? [bias] : []),
      ...matcher.constants(inputs),
    ],
    product: { N: hidden * D, K: GATES * (K + hidden), quantized: true, inOrt },
    lower(to) {
      const { dims } = to.info(x);
      if (dims.length !== 3 || dims[2] !== K) view.fail('X', `[positions, batch, ${K}]`, `[${dims.join(', ')}]`);
      const [S, B] = dims as readonly [number, number, number];
      const state = (name: string) => {
        if (name === '') return undefined;
        const of = to.info(name).dims;
        if (of.join() !== [D, B, hidden].join())
          view.fail(name === h0 ? 'initial_h' : 'initial_c', `[${D}, ${B}, ${hidden}]`, `[${of.join(', ')}]`);
        return to.slot(name);
      };
      const room = (...size: number[]) => to.result('', 'f32', size);
      const strip = Math.min(S, STRIP);
      to.step({
        kind: 'recurrent',
        x: to.slot(x),
        directions,
        bias: bias && to.slot(bias.key),
        initialH: state(h0),
        initialC: state(c0),
        lengths: lengths === '' ? undefined : lengthsIn(to, view, lengths, S, B),
        strip,
        room: {
          inputs: room(strip * B, GATES * hidden),
          added: room(B, GATES * hidden),
          sums: room(B, GATES * hidden),
          gates: room(GATES, B, hidden),
          h: room(B, hidden),
          c: room(B, hidden),
          nextC: room(B, hidden),
        },
        y: y === '' ? undefined : to.result(y, 'f32', [S, D, B, hidden]),
        lastH: to.result(lastH, 'f32', [D, B, hidden]),
        lastC: to.result(lastC, 'f32', [D, B, hidden]),
      });
    },
  };
}

function lengthsIn(to: Lowering, view: NodeView, name: string, positions: number, batch: number): Slot {
  const { dims } = to.info(name);
  if (dims.length !== 1 || dims[0] !== batch) view.fail('sequence_lens', `[${batch}]`, `[${dims.join(', ')}]`);
  return to.indices(name, (lengths) => {
    const bad = lengths.find((length) => !(length >= 0 && length <= positions));
    if (bad !== undefined) view.fail('sequence_lens', `0 to ${positions}`, `${bad}`);
  });
}

/** Biases of both products, [directions, 2, width], added up. */
function biasResource(tensor: TensorRef, directions: number, width: number): Extract<Resource, { kind: 'values' }> {
  const dims = [directions, width];
  const of = (values: Float32Array): Float32Array =>
    Float32Array.from({ length: directions * width }, (_, i) => {
      const first = 2 * width * Math.floor(i / width) + (i % width);
      return values[first]! + values[first + width]!;
    });
  const info = { elemType: tensor.elemType, dims: tensor.dims };
  return { kind: 'values', key: `${tensor.name}, added up`, info, tensor, transposed: false, arranged: { dims, of } };
}

function matchDequantized(view: NodeView, matcher: Matcher): Match | string {
  const [, w = '', r = ''] = view.node.inputs;
  for (const name of [w, r])
    if (matcher.info(name)?.dims?.length !== 3 || !matcher.isConstant(name)) return 'weights are not constant';
  const input = dequantizedDirections(matcher, w);
  if (typeof input === 'string') return input;
  const own = dequantizedDirections(matcher, r);
  return typeof own === 'string' ? own : layerMatch(view, matcher, { input, own }, undefined);
}

/** Eight-bit weights [directions, K, 4 · hidden] with their scales and zero points. */
function codesOf(matcher: Matcher, w: string, s: string, z: string): readonly Matrix[] | string {
  const [data, scales, zeroPoints] = [matcher.tensor(w), matcher.tensor(s), matcher.tensor(z)];
  if (data?.dims.length !== 3) return 'weights are not constant';
  if (!COLUMN_TYPES.has(data.elemType)) return `weights are ${dataTypeName(data.elemType)}`;
  if (!scales || !isFloat(scales.elemType)) return 'scales are no constant of floats';
  if (!zeroPoints || zeroPoints.elemType !== data.elemType) return 'zero points are no constant of the type of weights';
  const [D, , N] = data.dims as readonly [number, number, number];
  for (const tensor of [scales, zeroPoints])
    if (![D, D * N].includes(elementCount(tensor)))
      return `${tensor === scales ? 'scales' : 'zero points'} have shape [${tensor.dims.join(', ')}]`;
  const bad = matcher.refusedScale(scales);
  return bad === undefined ? columnDirections(data, scales, zeroPoints) : `a scale is ${bad}, not below 2^90`;
}

function matchDynamic(view: NodeView, matcher: Matcher): Match | string {
  if (view.version !== 1) return `version ${view.version} of com.microsoft is not known`;
  if (matcher.exactly !== undefined) return matcher.exactly;
  const [, w = '', r = '', , , , , , ws = '', wz = '', rs = '', rz = ''] = view.node.inputs;
  const input = codesOf(matcher, w, ws, wz);
  if (typeof input === 'string') return input;
  const own = codesOf(matcher, r, rs, rz);
  return typeof own === 'string' ? own : layerMatch(view, matcher, { input, own }, 'floats');
}

const ATTRIBUTES = ['activations', 'direction', 'hidden_size', 'input_forget'] as const;
const LIMITS =
  'one or both directions, lengths of sequences, an initial state; no peepholes, clip, or other activations';

export const recurrentOperators: readonly Operator[] = [
  {
    name: 'LSTM',
    attributes: [...ATTRIBUTES, 'layout'],
    limits: `constant integer weights behind DequantizeLinear; ${LIMITS}, no layout 1`,
    infer: infer(2),
    match: matchDequantized,
  },
  {
    name: 'com.microsoft.DynamicQuantizeLSTM',
    attributes: ATTRIBUTES,
    limits: `constant weights of int8 or uint8, activations stay floats unless \`exact\`; ${LIMITS}`,
    infer: infer(1),
    match: matchDynamic,
  },
];
