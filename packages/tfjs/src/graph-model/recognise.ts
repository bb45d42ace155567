/**
 * What a node does with a constant, in terms of `matMul` and look-ups; or why MSD does not take it. Everything here is
 * about one node: whether its constant may change is decided over all readers (claim.ts).
 */

import { convolutionGain, depthwiseGain } from '../convolution/price.ts';
import { type ConvolutionWindow, isPointwise } from '../convolution/window.ts';
import type { Constant, Constants } from '../weights/source.ts';
import type { MatrixView, WeightView } from '../weights/view.ts';
import {
  boolAttr,
  type NodeDef,
  numberAttr,
  numbersAttr,
  parseInput,
  type Scope,
  stringAttr,
  stringsAttr,
} from './topology.ts';

export type MsdOp =
  | 'MsdMatMul'
  | 'MsdConv2D'
  | 'MsdDepthwiseConv2D'
  | 'MsdGather'
  | 'MsdSparseSegmentMean'
  | 'MsdSparseSegmentSum';

export interface Use {
  readonly node: NodeDef;
  readonly scope: Scope;
  readonly op: MsdOp;
  /** Name of the constant behind the weight input. */
  readonly constant: string;
  /** The node's own input string for it; identities stay where they are. */
  readonly weightInput: string;
  readonly view: WeightView;
  /** Further inputs of the new node, before the bias: x, or indices and segment ids. */
  readonly inputs: readonly string[];
  readonly bias?: string;
  readonly activation?: string;
  /** Of a LeakyRelu. */
  readonly alpha?: number;
  /** Input with the slopes of a Prelu. */
  readonly slopes?: string;
  /** Einsum: how many dimensions of x are contracted, and the dimensions that w puts in their place. */
  readonly contracted?: number;
  readonly free?: readonly number[];
  /** A convolution, and how much faster than tfjs it is predicted to be. */
  readonly convolution?: { readonly window: ConvolutionWindow; readonly gain: number };
  /** The weights stay the floats that they are. */
  readonly isFloat?: true;
}

export type Recognised = Use | { readonly reason: string };

/** Ops that MSD looks at. All others are tfjs's and not reported. */
export const CANDIDATES: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'MatMul',
  '_FusedMatMul',
  'BatchMatMul',
  'BatchMatMulV2',
  'BatchMatMulV3',
  'Einsum',
  'Conv2D',
  '_FusedConv2D',
  'DepthwiseConv2dNative',
  'FusedDepthwiseConv2dNative',
  'GatherV2',
  'SparseSegmentMean',
  'SparseSegmentSum',
]);

/** Fused and following activations, as tfjs graph models name them. */
export const ACTIVATIONS: Readonly<Record<string, string>> = {
  Relu: 'relu',
  Relu6: 'relu6',
  Elu: 'elu',
  Sigmoid: 'sigmoid',
  Tanh: 'tanh',
  LeakyRelu: 'leakyrelu',
  Prelu: 'prelu',
};

/** Those with a parameter of their own: only as part of a fused node. */
export const HAS_PARAMETER: readonly string[] = ['leakyrelu', 'prelu'];

const refuse = (reason: string): Recognised => ({ reason });

export function recognise(node: NodeDef, scope: Scope, constants: Constants): Recognised {
  const inputs = (node.input ?? []).filter((input) => !input.startsWith('^'));
  const constantOf = (at: number) => floatConstant(scope, inputs[at], constants);
  const use = (rest: Omit<Use, 'node' | 'scope'>): Use => ({ node, scope, ...rest });
  switch (node.op) {
    case 'MatMul':
    case '_FusedMatMul':
    case 'BatchMatMul':
    case 'BatchMatMulV2':
    case 'BatchMatMulV3': {
      const w = constantOf(1);
      if (!w) return refuse(constantOf(0) ? 'the constant is the left operand' : 'no constant operand');
      if (boolAttr(node, 'transpose_a', 'adj_x')) return refuse('x is transposed');
      if (w.shape.length < 2 || w.shape.includes(0)) return refuse(`weights of shape [${w.shape}]`);
      const transposed = boolAttr(node, 'transpose_b', 'adj_y');
      const fused = fusedOps(node, inputs);
      if ('reason' in fused) return fused;
      const batchShape = w.shape.slice(0, -2);
      const [first, second] = w.shape.slice(-2) as [number, number];
      const [N, K] = transposed ? [first, second] : [second, first];
      const view: MatrixView = { kind: 'matrix', batchShape, N, K, transposed };
      return use({ op: 'MsdMatMul', constant: w.name, weightInput: inputs[1]!, view, inputs: [inputs[0]!], ...fused });
    }
    case 'Conv2D':
    case '_FusedConv2D':
    case 'DepthwiseConv2dNative':
    case 'FusedDepthwiseConv2dNative': {
      const w = constantOf(1);
      if (!w) return refuse('no constant filter');
      return recogniseConvolution(node, inputs, w, use);
    }
    case 'Einsum':
      return recogniseEinsum(node, inputs, constantOf, use);
    case 'GatherV2': {
      const w = constantOf(0);
      if (!w) return refuse('no constant table');
      if (w.shape.length !== 2) return refuse(`a table of shape [${w.shape}]`);
      const axis = constants.get(rootOf(scope, inputs[2] ?? '') ?? '');
      if (axis?.dtype !== 'int32' || axis.integers()[0] !== 0) return refuse('not along axis 0');
      if ((numberAttr(node, 'batch_dims') ?? 0) !== 0) return refuse('batch dimensions');
      const view = tableView(w);
      return use({ op: 'MsdGather', constant: w.name, weightInput: inputs[0]!, view, inputs: [inputs[1]!] });
    }
    case 'SparseSegmentMean':
    case 'SparseSegmentSum': {
      const w = constantOf(0);
      if (!w) return refuse('no constant table');
      if (w.shape.length !== 2) return refuse(`a table of shape [${w.shape}]`);
      const op = node.op === 'SparseSegmentMean' ? 'MsdSparseSegmentMean' : 'MsdSparseSegmentSum';
      const rest = { constant: w.name, weightInput: inputs[0]!, view: tableView(w) };
      return use({ op, ...rest, inputs: [inputs[1]!, inputs[2]!] });
    }
    default:
      return refuse('op is not taken by this version');
  }
}

const tableView = ({ shape }: Constant): WeightView => ({ kind: 'table', rows: shape[0]!, columns: shape[1]! });

/** They hand a value on as it is; Enter takes one into a loop. */
export const PASSES: ReadonlySet<string> = /* @__PURE__ */ new Set(['Identity', 'Enter']);

/** What a node hands on as it is: one of {@link PASSES}, or a part of a loop's variable that nobody changes. */
export function passedOn(scope: Scope, node: NodeDef): string | undefined {
  if (PASSES.has(node.op)) return node.input?.[0];
  if (node.op === 'Switch' || node.op === 'NextIteration' || node.op === 'Exit') {
    const input = node.input?.[0];
    return input !== undefined && variableOf(scope, node) ? input : undefined;
  }
  if (node.op !== 'Merge') return undefined;
  const enter = variableOf(scope, node);
  return enter?.name;
}

/** Enter of the variable that goes through a Merge, if that gets back what it gave. */
function variableOf(scope: Scope, from: NodeDef): NodeDef | undefined {
  let merge: NodeDef | undefined = from;
  for (let depth = 0; depth < 8 && merge && merge.op !== 'Merge'; depth++)
    merge = scope.nodes.get(parseInput(merge.input?.[0] ?? '').node);
  if (merge?.op !== 'Merge') return undefined;
  const both = (merge.input ?? []).map((input) => scope.nodes.get(parseInput(input).node));
  const enter = both.find((node) => node?.op === 'Enter');
  let back = both.find((node) => node?.op === 'NextIteration');
  if (both.length !== 2 || !enter || !back) return undefined;
  for (let depth = 0; depth < 32 && back && back.op !== 'Switch'; depth++) {
    if (back.op !== 'NextIteration' && back.op !== 'Identity') return undefined;
    back = scope.nodes.get(parseInput(back.input?.[0] ?? '').node);
  }
  const isSame = back?.op === 'Switch' && parseInput(back.input?.[0] ?? '').node === merge.name;
  return isSame ? enter : undefined;
}

/** Name of the Const behind an input, through identities, into loops, and of a function through its arguments. */
export function rootOf(scope: Scope, input: string): string | undefined {
  for (let name = parseInput(input).node, depth = 0; depth < 32; depth++) {
    const node = scope.nodes.get(name);
    if (node?.op === 'Const') return name;
    if (!node) return scope.given.get(name);
    const passed = passedOn(scope, node);
    if (!passed) return undefined;
    name = parseInput(passed).node;
  }
  return undefined;
}

function floatConstant(scope: Scope, input: string | undefined, constants: Constants): Constant | undefined {
  const name = input === undefined ? undefined : rootOf(scope, input);
  const constant = name === undefined ? undefined : constants.get(name);
  return constant?.dtype === 'float32' ? constant : undefined;
}

/** What `_FusedMatMul` and fused convolutions add: BiasAdd or NoOp, then an activation; nothing for the plain ops. */
function fusedOps(
  node: NodeDef,
  inputs: readonly string[],
): Pick<Use, 'bias' | 'activation' | 'alpha' | 'slopes'> | { readonly reason: string } {
  if (!/^_?Fused/.test(node.op)) return {};
  const [first = 'NoOp', second, ...more] = stringsAttr(node, 'fused_ops');
  const hasBias = first === 'BiasAdd';
  if (more.length || !(hasBias || first === 'NoOp'))
    return { reason: `fused ops ${[first, second, ...more].filter(Boolean)}` };
  if (second !== undefined && !Object.hasOwn(ACTIVATIONS, second)) return { reason: `fused ${second}` };
  const [bias, slopes] = hasBias ? inputs.slice(2) : [undefined, inputs[2]];
  if (hasBias && bias === undefined) return { reason: 'the fused bias is missing' };
  if (second === 'Prelu' && slopes === undefined) return { reason: "the fused Prelu's slopes are missing" };
  return {
    ...(bias !== undefined && { bias }),
    ...(second !== undefined && { activation: ACTIVATIONS[second]! }),
    ...(second === 'LeakyRelu' && { alpha: numberAttr(node, 'leakyrelu_alpha') ?? 0.2 }),
    ...(second === 'Prelu' && { slopes: slopes! }),
  };
}

function recogniseConvolution(
  node: NodeDef,
  inputs: readonly string[],
  w: Constant,
  use: (rest: Omit<Use, 'node' | 'scope'>) => Use,
): Recognised {
  if (w.shape.length !== 4 || w.shape.includes(0)) return refuse(`a filter of shape [${w.shape}]`);
  const [down, across, channels, last] = w.shape as [number, number, number, number];
  const window = windowOf(node, [down, across]);
  if ('reason' in window) return window;
  const fused = fusedOps(node, inputs);
  if ('reason' in fused) return fused;
  const rest = { constant: w.name, weightInput: inputs[1]!, inputs: [inputs[0]!], ...fused };
  if (node.op.includes('Depthwise')) {
    if (last !== 1) return refuse(`${last} results of each channel`);
    const view: MatrixView = { kind: 'matrix', batchShape: [], N: channels, K: down * across, transposed: false };
    const convolution = { window, gain: depthwiseGain(window, channels) };
    return use({ op: 'MsdDepthwiseConv2D', view, convolution, isFloat: true, ...rest });
  }
  const K = down * across * channels;
  const view: MatrixView = { kind: 'matrix', batchShape: [], N: last, K, transposed: false };
  const convolution = { window, gain: convolutionGain(window, channels, last) };
  return use({ op: isPointwise(window) ? 'MsdMatMul' : 'MsdConv2D', view, convolution, ...rest });
}

/** What the attributes say of where windows lie. */
function windowOf(node: NodeDef, kernel: readonly [number, number]): ConvolutionWindow | { readonly reason: string } {
  const format = stringAttr(node, 'data_format') ?? 'NHWC';
  if (format !== 'NHWC') return { reason: `data format ${format}` };
  const sizes = (name: string): [number, number] | undefined => {
    const given = numbersAttr(node, name);
    if (given.length === 0) return [1, 1];
    const [batch, height, width, channel] = given;
    const isPlain = given.length === 4 && batch === 1 && channel === 1 && height! > 0 && width! > 0;
    return isPlain ? [height!, width!] : undefined;
  };
  const [strides, dilations] = [sizes('strides'), sizes('dilations')];
  if (!strides) return { reason: `strides [${numbersAttr(node, 'strides')}]` };
  if (!dilations) return { reason: `dilations [${numbersAttr(node, 'dilations')}]` };
  const padding = stringAttr(node, 'padding') ?? 'VALID';
  if (padding === 'SAME' || padding === 'VALID')
    return { kernel, strides, dilations, padding: padding === 'SAME' ? 'same' : 'valid' };
  const pads = numbersAttr(node, 'explicit_paddings');
  if (padding !== 'EXPLICIT' || pads.length !== 8 || pads.some((count) => !(count >= 0)))
    return { reason: `padding ${padding}${pads.length ? ` [${pads}]` : ''}` };
  return { kernel, strides, dilations, padding: pads.slice(2, 6) };
}

/** `abc,cde->abde`: x ends with what is contracted, w's free dimensions take its place. */
function recogniseEinsum(
  node: NodeDef,
  inputs: readonly string[],
  constantOf: (at: number) => Constant | undefined,
  use: (rest: Omit<Use, 'node' | 'scope'>) => Use,
): Recognised {
  const equation = (stringAttr(node, 'equation') ?? '').replaceAll(' ', '');
  const [left = '', out = ''] = equation.split('->');
  const terms = left.split(',');
  if (inputs.length !== 2 || terms.length !== 2 || /[^a-zA-Z]/.test(terms.join('') + out))
    return refuse(`equation ${equation}`);
  const at = constantOf(1) ? 1 : 0;
  const w = constantOf(at);
  if (!w) return refuse('no constant operand');
  const [xTerm, wTerm] = [terms[1 - at]!, terms[at]!];
  if (w.shape.length !== wTerm.length) return refuse(`equation ${equation} for weights [${w.shape}]`);
  if (new Set(xTerm).size !== xTerm.length || new Set(wTerm).size !== wTerm.length) return refuse('a repeated index');
  const contracted = [...wTerm].filter((index) => !out.includes(index));
  const free = [...wTerm].filter((index) => out.includes(index));
  const lead = [...xTerm].filter((index) => !wTerm.includes(index));
  // Both [contracted…, free…] and [free…, contracted…] are matrices as they lie.
  const transposed = wTerm === [...free, ...contracted].join('');
  const fits =
    contracted.length > 0 &&
    free.length > 0 &&
    (transposed || wTerm === [...contracted, ...free].join('')) &&
    xTerm === [...lead, ...contracted].join('') &&
    out === [...lead, ...free].join('');
  if (!fits) return refuse(`equation ${equation} is no product of rows with one matrix`);
  const size = (indices: readonly string[]) => indices.reduce((n, index) => n * w.shape[wTerm.indexOf(index)]!, 1);
  const view: MatrixView = { kind: 'matrix', batchShape: [], N: size(free), K: size(contracted), transposed };
  return use({
    op: 'MsdMatMul',
    constant: w.name,
    weightInput: inputs[at]!,
    view,
    inputs: [inputs[1 - at]!],
    contracted: contracted.length,
    free: free.map((index) => w.shape[wTerm.indexOf(index)]!),
  });
}
