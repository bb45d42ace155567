/** MSD's ops as graph models run them: `registerOp` of tfjs-converter, each in a tidy of its own. */
import type { ConvolutionWindow } from '../convolution/window.ts';
import { gather, sparseSegmentMean, sparseSegmentSum } from '../gather.ts';
import { type Activation, matMul } from '../mat-mul.ts';
import type { ArithmeticOptions } from '../options.ts';
import type { ConverterNamespace } from '../peers.ts';
import type { QuantizedTensor } from '../quantized-tensor.ts';
import { constantTensor } from '../saved.ts';
import type { MatrixSpec, QuantizedSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import { teachers } from '../teachers.ts';
import type { Tensor, TfNamespace } from '../tf.ts';
import { attentionOp } from './attention/run.ts';
import { ATTENTION_OP } from './attention/steps.ts';
import { conv2dOp, depthwiseOp } from './convolution-ops.ts';
import { LOOP_OP, runLoop } from './loops/steps.ts';
import { HAS_PARAMETER } from './recognise.ts';
import { GATES_OP, gatesOp } from './recurrent/run.ts';
import { watchExecutions } from './running.ts';
import { specOfNode } from './spec-attr.ts';
import { type AttrValue, boolAttr, type NodeDef, numberAttr, numbersAttr, stringAttr } from './topology.ts';
import { windowOf } from './window-attr.ts';

/** What tfjs hands to a custom op. */
export interface GraphNode {
  readonly inputs: Tensor[];
  readonly node: { readonly name: string; readonly op: string; readonly rawAttrs: Readonly<Record<string, AttrValue>> };
}

/** What a product ends with. */
interface End {
  readonly hasBias: boolean;
  readonly hasSlopes: boolean;
  readonly activation: Activation | undefined;
  readonly alpha: number | undefined;
}

/** A node's attributes, read once. */
interface Attributes extends End {
  readonly spec: QuantizedSpec;
  readonly hasShape: boolean;
  readonly shapeFirst: boolean;
  readonly contracted: number | undefined;
  readonly free: readonly number[];
  /** Of a convolution. */
  readonly window: ConvolutionWindow | undefined;
  readonly arithmetic: ArithmeticOptions;
  /** Of the last call: identities hand a new tensor over each time. */
  packed?: Tensor;
  quantized?: QuantizedTensor;
}

const known = /* @__PURE__ */ new WeakMap<object, Attributes>();

function attributesOf(node: NodeDef, packedLength: number): Attributes {
  const spec = specOfNode(node, packedLength);
  const block = stringAttr(node, 'activation_block');
  return {
    spec,
    ...endAttributes(node),
    hasShape: boolAttr(node, 'has_shape'),
    shapeFirst: boolAttr(node, 'shape_first'),
    contracted: numberAttr(node, 'contracted'),
    free: numbersAttr(node, 'free'),
    window: node.op === 'MsdConv2D' ? windowOf(node, (spec as MatrixSpec).K) : undefined,
    arithmetic: {
      components: numberAttr(node, 'components') as 1 | 2 | undefined,
      activationBlock: block === undefined ? undefined : block === 'row' ? 'row' : (Number(block) as 32 | 256),
    },
  };
}

const endAttributes = (node: NodeDef): End => ({
  hasBias: boolAttr(node, 'has_bias'),
  hasSlopes: boolAttr(node, 'has_slopes'),
  activation: stringAttr(node, 'activation') as Activation | undefined,
  alpha: numberAttr(node, 'alpha'),
});

const ends = /* @__PURE__ */ new WeakMap<object, End>();

/** Of a node without packed weights. */
export function endOf({ node }: GraphNode): End {
  const end = ends.get(node.rawAttrs) ?? endAttributes({ name: node.name, op: node.op, attr: node.rawAttrs });
  ends.set(node.rawAttrs, end);
  return end;
}

export function attributesFor({ node }: GraphNode, packed: Tensor): Attributes & { quantized: QuantizedTensor } {
  let attributes = known.get(node.rawAttrs);
  if (!attributes) {
    attributes = attributesOf({ name: node.name, op: node.op, attr: node.rawAttrs }, packed.size);
    known.set(node.rawAttrs, attributes);
  }
  if (attributes.packed !== packed) {
    attributes.packed = packed;
    attributes.quantized = constantTensor(packed, attributes.spec);
  }
  return attributes as Attributes & { quantized: QuantizedTensor };
}

function matMulOp(graphNode: GraphNode): Tensor {
  const { tf } = requireRegistration('MsdMatMul');
  const [x, packed, ...rest] = graphNode.inputs as [Tensor, Tensor, ...Tensor[]];
  const { quantized, hasBias, hasSlopes, hasShape, shapeFirst, activation, alpha, contracted, free, arithmetic } =
    attributesFor(graphNode, packed);
  return tf.tidy(() => {
    const { K, N } = quantized.spec as MatrixSpec;
    const bias = hasBias ? rest.shift() : undefined;
    const slopes = hasSlopes ? rest.shift() : undefined;
    const lead = contracted === undefined ? undefined : x.shape.slice(0, x.rank - contracted);
    const rows = lead && contracted! > 1 ? tf.reshape(x, [...lead, K]) : x;
    const shape = hasShape ? resolveShape(rest[0]!, (rows.size / K) * N) : undefined;
    // A bias of the reshaped result is one of the product's as long as the last dimension is still N.
    const keepsColumns = !shapeFirst || shape?.at(-1) === N;
    const late = bias && !(keepsColumns && isVector(bias, N)) ? bias : undefined;
    const fuses = keepsColumns && !late && !HAS_PARAMETER.includes(activation as string);
    let y = matMul(rows, quantized, {
      ...arithmetic,
      bias: late ? undefined : bias,
      activation: fuses ? activation : undefined,
    });
    if (lead && free.length > 1) y = tf.reshape(y, [...lead, ...free]);
    if (late && !shapeFirst) y = tf.add(y, late);
    if (shape) y = tf.reshape(y, shape);
    if (late && shapeFirst) y = tf.add(y, late);
    return activation && !fuses ? activate(tf, y, activation, slopes ?? alpha) : y;
  });
}

/** One value per column? The converter makes any sum behind a product its bias: residuals, single numbers, products. */
export const isVector = ({ size, shape }: Tensor, N: number): boolean => size === N && shape.at(-1) === N;

/** @param parameter slopes of a Prelu, the slope of a LeakyRelu */
export function activate(tf: TfNamespace, y: Tensor, activation: string, parameter?: Tensor | number): Tensor {
  if (activation === 'leakyrelu') return tf.leakyRelu(y, parameter as number | undefined);
  if (activation === 'prelu') return tf.prelu(y, parameter as Tensor);
  const functions: Readonly<Record<string, (x: Tensor) => Tensor>> = tf as never;
  return functions[activation]!(y);
}

/** A Reshape's target with its −1 filled in. */
function resolveShape(tensor: Tensor, size: number): number[] {
  const shape = Array.from(tensor.dataSync<'int32'>());
  const at = shape.indexOf(-1);
  if (at >= 0) shape[at] = size / shape.reduce((product, dim, i) => (i === at ? product : product * dim), 1);
  return shape;
}

/** What MSD needs of a copy of tfjs-converter; again and again does no harm. */
export function prepareConverter(namespace: ConverterNamespace): void {
  registerOps(namespace);
  watchExecutions(namespace);
}

teachers.converter = prepareConverter;

function registerOps({ registerOp }: Pick<ConverterNamespace, 'registerOp'>): void {
  const table = (run: (w: QuantizedTensor, inputs: Tensor[]) => Tensor) => (graphNode: GraphNode) => {
    // [indices…, table]
    const inputs = graphNode.inputs.slice();
    const at = inputs.findIndex((_, i) => i === inputCount(graphNode.node.op));
    const { quantized } = attributesFor(graphNode, inputs[at]!);
    return run(quantized, inputs);
  };
  const ops: Readonly<Record<string, (node: GraphNode) => Tensor | Tensor[] | Promise<Tensor[]>>> = {
    MsdMatMul: matMulOp,
    MsdConv2D: conv2dOp,
    MsdDepthwiseConv2D: depthwiseOp,
    MsdGather: table((w, [indices]) => gather(w, indices!)),
    MsdSparseSegmentMean: table((w, [indices, ids]) => sparseSegmentMean(w, indices!, ids!)),
    MsdSparseSegmentSum: table((w, [indices, ids]) => sparseSegmentSum(w, indices!, ids!)),
    [ATTENTION_OP]: attentionOp,
    [GATES_OP]: gatesOp,
    [LOOP_OP]: runLoop,
  };
  for (const [name, op] of Object.entries(ops)) registerOp(name, op as never);
}

/** Inputs before the packed weights. */
export const inputCount = (op: string): number => (op.startsWith('MsdSparseSegment') ? 2 : 1);

/** Ops whose packed weights have a spec beside them. */
export const isMsdOp = (op: string): boolean => /^Msd(MatMul|Conv2D|Gather|SparseSegment(Mean|Sum))$/.test(op);
