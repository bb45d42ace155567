/** Convolutions of graph models: nodes that the rewriting made, as tfjs runs them. */
import { conv2d, depthwiseConv2d } from '../convolution/conv2d.ts';
import { type ConvolutionWindow, checkWindow, tapsOf } from '../convolution/window.ts';
import { ModelFormatError } from '../errors.ts';
import type { MatrixSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import { activate, attributesFor, endOf, type GraphNode } from './ops.ts';
import { HAS_PARAMETER } from './recognise.ts';
import { type NodeDef, stringAttr } from './topology.ts';

const windows = /* @__PURE__ */ new WeakMap<object, ConvolutionWindow>();

/** @throws {@link ModelFormatError} if it is none */
export function windowOf(node: NodeDef): ConvolutionWindow {
  const where = `${node.op} ${node.name}`;
  const window = (): unknown => JSON.parse(stringAttr(node, 'window') ?? 'null');
  try {
    return checkWindow(window(), where);
  } catch (cause) {
    throw new ModelFormatError((cause as Error).message, { cause });
  }
}

function windowFor({ node }: GraphNode, K: number | undefined): ConvolutionWindow {
  const known = windows.get(node.rawAttrs);
  if (known) return known;
  const window = windowOf({ name: node.name, op: node.op, attr: node.rawAttrs });
  const taps = tapsOf(window);
  if (K !== undefined && K % taps !== 0)
    throw new ModelFormatError(
      `${node.op} ${node.name}: weights, expected a multiple of ${taps} rows for a window of [${window.kernel}], got ${K}.`,
    );
  windows.set(node.rawAttrs, window);
  return window;
}

/** [x, packed, bias?, slopes?] */
export function conv2dOp(graphNode: GraphNode): Tensor {
  const [x, packed, ...rest] = graphNode.inputs as [Tensor, Tensor, ...Tensor[]];
  const { quantized, arithmetic, ...own } = attributesFor(graphNode, packed);
  const window = windowFor(graphNode, (quantized.spec as MatrixSpec).K);
  return ended(own, rest, (end) => conv2d(x, quantized, window, { ...arithmetic, ...end }));
}

/** [x, filter, bias?, slopes?] */
export function depthwiseOp(graphNode: GraphNode): Tensor {
  const [x, filter, ...rest] = graphNode.inputs as [Tensor, Tensor, ...Tensor[]];
  const window = windowFor(graphNode, undefined);
  return ended(endOf(graphNode), rest, (end) => depthwiseConv2d(x, filter, window, end));
}

type End = Parameters<typeof depthwiseConv2d>[3];

function ended(
  { hasBias, hasSlopes, activation, alpha }: ReturnType<typeof endOf>,
  inputs: readonly Tensor[],
  run: (end: End) => Tensor,
): Tensor {
  const { tf } = requireRegistration('MsdConv2D');
  return tf.tidy(() => {
    const rest = [...inputs];
    const bias = hasBias ? rest.shift() : undefined;
    const slopes = hasSlopes ? rest.shift() : undefined;
    const isLast = activation !== undefined && HAS_PARAMETER.includes(activation);
    const y = run({ bias, activation: isLast ? undefined : activation });
    return isLast ? activate(tf, y, activation, slopes ?? alpha) : y;
  });
}
