/**
 * LSTM and GRU with integers: DynamicQuantizeLSTM, and layers whose weights a DequantizeLinear makes floats, or the session quantizes.
 *
 *   LSTM   i, o, f, g = x[t] · Wᵀ + h · Rᵀ + bias     c = σ(f) · c + σ(i) · tanh(g)     h = σ(o) · tanh(c)
 *   GRU    z, r = σ(x[t] · Wᵀ + h · Rᵀ + bias)        h = (1 − z) · n + z · h
 *          n = tanh(x[t] · Wᵀ + (r · h) · Rᵀ + bias), or tanh(x[t] · Wᵀ + bias + r · (h · Rᵀ + its bias))
 */

import { dataTypeName, INT32, isFloat } from '../data-types.ts';
import type { Info, Size } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { elementCount, type TensorRef } from '../read/tensor.ts';
import { COLUMN_TYPES } from '../weights/columns.ts';
import type { Matrix } from '../weights/matrix.ts';
import { columnDirections, dequantizedDirections, perDirection, rowsOf } from '../weights/recurrent.ts';
import { atLoad } from './at-load.ts';
import type { Lowering, RecurrentStep, Resource, Slot } from './lowering.ts';
import type { NodeView, Operator } from './operator.ts';

interface Kind {
  /** What a gate's rows are of W, R and the bias: input, output, forget, cell; update, reset, candidate. */
  readonly gates: number;
  /** Of one direction. */
  readonly activations: readonly string[];
}

const LSTM: Kind = { gates: 4, activations: ['sigmoid', 'tanh', 'tanh'] };
const GRU: Kind = { gates: 3, activations: ['sigmoid', 'tanh'] };
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

function refusedAttribute(view: NodeView, directions: number, usual: readonly string[]): string | undefined {
  const direction = view.string('direction', 'forward');
  if (!Object.hasOwn(DIRECTIONS, direction)) return `direction ${direction}`;
  if (DIRECTIONS[direction]!.length !== directions) return `weights of ${directions} directions, for ${direction}`;
  if (view.int('layout', 0) !== 0) return 'layout 1';
  if (view.int('input_forget', 0) !== 0) return 'input and forget gate are one';
  const activations = view.strings('activations') ?? [];
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
  kind: Kind,
  layer: Layer,
  inOrt: NonNullable<Match['product']>['inOrt'],
): Match | string {
  const { node } = view;
  const { gates } = kind;
  const [x = '', , , b = '', lengths = '', h0 = '', c0 = '', peepholes = ''] = node.inputs;
  const [y = '', lastH = '', lastC = ''] = node.outputs;
  const { input, own } = layer;
  const D = own.length;
  const [hidden, K] = [own[0]!.K, input[0]!.K];
  const refused = refusedAttribute(view, D, kind.activations);
  if (refused !== undefined) return refused;
  if (lengths !== '' && matcher.info(lengths)?.elemType !== INT32) return 'sequence_lens are not int32';
  if (peepholes !== '') return 'peepholes';
  if (own[0]!.N !== gates * hidden || input[0]!.N !== gates * hidden || input.length !== D)
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
  if (b !== '' && (!biases || !isFloat(biases.elemType))) return 'the bias is not a constant of floats';
  if (biases && elementCount(biases) !== 2 * D * gates * hidden)
    return `the bias has shape [${biases.dims.join(', ')}]`;
  const isGru = kind === GRU;
  const resetsAfter = isGru && view.int('linear_before_reset', 0) !== 0;
  // A candidate that is reset after its product has that product's bias in it.
  const apart = resetsAfter ? hidden : 0;
  const bias = biases && biasResource(biases, D, gates * hidden, apart);
  const ownBias = biases && resetsAfter ? candidateBias(biases, D, hidden) : undefined;
  const inputs = [x, lengths, h0, c0];
  const ownMatrices = own.map((matrix) =>
    isGru && !resetsAfter ? [rowsOf(matrix, 0, 2 * hidden), rowsOf(matrix, 2 * hidden, hidden)] : [matrix],
  );
  const directions = DIRECTIONS[view.string('direction', 'forward')]!.map((isReversed, d) => ({
    isReversed,
    input: input[d]!.key,
    own: ownMatrices[d]!.map(({ key }) => key),
  }));
  return {
    op: 'recurrent layer',
    place: 'device',
    nodes: [node],
    inputs,
    outputs: isGru ? [y, lastH] : [y, lastH, lastC],
    resources: [
      ...[...input, ...ownMatrices.flat()].map((matrix): Resource => ({ kind: 'matrix', key: matrix.key, matrix })),
      ...[bias, ownBias].filter((resource) => resource !== undefined),
      ...matcher.constants(inputs),
    ],
    product: { N: hidden * D, K: gates * (K + hidden), quantized: true, inOrt },
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
      const first = (isGru && !resetsAfter ? gates - 1 : gates) * hidden;
      const shared = { added: room(B, first), sums: room(B, first), gates: room(gates, B, hidden) };
      const one = () => room(B, hidden);
      const cell: RecurrentStep['cell'] = isGru
        ? {
            kind: 'GRU',
            resetsAfter,
            bias: ownBias && to.slot(ownBias.key),
            room: { ...shared, candidate: one(), reset: one(), next: one() },
          }
        : {
            kind: 'LSTM',
            initialC: state(c0),
            lastC: to.result(lastC, 'f32', [D, B, hidden]),
            room: { ...shared, c: one(), nextC: one() },
          };
      to.step({
        kind: 'recurrent',
        x: to.slot(x),
        directions,
        bias: bias && to.slot(bias.key),
        initialH: state(h0),
        lengths: lengths === '' ? undefined : lengthsIn(to, view, lengths, S, B),
        strip,
        room: { inputs: room(strip * B, gates * hidden), h: one() },
        cell,
        y: y === '' ? undefined : to.result(y, 'f32', [S, D, B, hidden]),
        lastH: to.result(lastH, 'f32', [D, B, hidden]),
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

/** Biases of both products, [directions, 2, width], added up: but for the last `apart`, of which the first has only its own. */
function biasResource(tensor: TensorRef, directions: number, width: number, apart: number): Values {
  const of = (values: Float32Array): Float32Array =>
    Float32Array.from({ length: directions * width }, (_, i) => {
      const first = 2 * width * Math.floor(i / width) + (i % width);
      return values[first]! + (i % width < width - apart ? values[first + width]! : 0);
    });
  return arrangedBias(tensor, `added up${apart > 0 ? ` but for ${apart}` : ''}`, [directions, width], of);
}

/** What of a GRU's biases is inside of what it resets: 0 for the other gates. */
function candidateBias(tensor: TensorRef, directions: number, hidden: number): Values {
  const width = GRU.gates * hidden;
  const of = (values: Float32Array): Float32Array =>
    Float32Array.from({ length: directions * width }, (_, i) => {
      const second = 2 * width * Math.floor(i / width) + width + (i % width);
      return i % width < 2 * hidden ? 0 : values[second]!;
    });
  return arrangedBias(tensor, 'of the candidate', [directions, width], of);
}

type Values = Extract<Resource, { kind: 'values' }>;

function arrangedBias(
  tensor: TensorRef,
  what: string,
  dims: readonly number[],
  of: (values: Float32Array) => Float32Array,
): Values {
  const info = { elemType: tensor.elemType, dims: tensor.dims };
  return { kind: 'values', key: `${tensor.name}, ${what}`, info, tensor, transposed: false, arranged: { dims, of } };
}

const matchConstant =
  (kind: Kind) =>
  (view: NodeView, matcher: Matcher): Match | string => {
    const [, w = '', r = ''] = view.node.inputs;
    for (const name of [w, r])
      if (matcher.info(name)?.dims?.length !== 3 || !matcher.isConstant(name)) return 'weights are not constant';
    const [input, own] = [directionsAtLoad(view, matcher, w), directionsAtLoad(view, matcher, r)];
    if (typeof input === 'string') return input;
    if (typeof own === 'string') return own;
    if (input && own) return layerMatch(view, matcher, kind, { input, own }, 'floats');
    const [w8, r8] = [dequantizedDirections(matcher, w), dequantizedDirections(matcher, r)];
    if (typeof w8 === 'string') return w8;
    return typeof r8 === 'string' ? r8 : layerMatch(view, matcher, kind, { input: w8, own: r8 }, undefined);
  };

/** Float weights [directions, N, K] that the session quantizes. */
function directionsAtLoad(view: NodeView, matcher: Matcher, name: string): readonly Matrix[] | string | undefined {
  const [count = 0, N = 0, K = 0] = matcher.tensor(name)?.dims ?? [];
  const matrix = atLoad(view, matcher, name, () => ({ N: count * N, K, isTransposed: false }));
  return typeof matrix === 'object' ? perDirection(matrix, count) : matrix;
}

/** Eight-bit weights [directions, K, 4 · hidden] with their scales and zero points. */
function codesOf(matcher: Matcher, w: string, s: string, z: string): readonly Matrix[] | string {
  const [data, scales, zeroPoints] = [matcher.tensor(w), matcher.tensor(s), matcher.tensor(z)];
  if (data?.dims.length !== 3) return 'weights are not constant';
  if (!COLUMN_TYPES.has(data.elemType)) return `weights are ${dataTypeName(data.elemType)}`;
  if (!scales || !isFloat(scales.elemType)) return 'scales are not a constant of floats';
  if (!zeroPoints || zeroPoints.elemType !== data.elemType)
    return 'zero points are not a constant of the type of the weights';
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
  return typeof own === 'string' ? own : layerMatch(view, matcher, LSTM, { input, own }, 'floats');
}

const ATTRIBUTES = ['activations', 'direction', 'hidden_size', 'input_forget'] as const;

export const recurrentOperators: readonly Operator[] = [
  {
    name: 'LSTM',
    attributes: [...ATTRIBUTES, 'layout'],
    infer: infer(2),
    match: matchConstant(LSTM),
  },
  {
    name: 'GRU',
    attributes: ['activations', 'direction', 'hidden_size', 'layout', 'linear_before_reset'],
    infer: infer(2),
    match: matchConstant(GRU),
  },
  {
    name: 'com.microsoft.DynamicQuantizeLSTM',
    attributes: ATTRIBUTES,
    infer: infer(1),
    match: matchDynamic,
  },
];
