/** Convolutions of graph models: nodes that the rewriting made, as tfjs runs them. */
import { conv2d, depthwiseConv2d } from '../convolution/conv2d.ts';
import type { ConvolutionWindow } from '../convolution/window.ts';
import type { MatrixSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import { activate, attributesFor, endOf, type GraphNode, isVector } from './ops.ts';
import { HAS_PARAMETER } from './recognise.ts';
import { windowOf } from './window-attr.ts';

/** [x, packed, bias?, slopes?] */
export function conv2dOp(graphNode: GraphNode): Tensor {
  const [x, packed, ...rest] = graphNode.inputs as [Tensor, Tensor, ...Tensor[]];
  const { quantized, arithmetic, window, ...own } = attributesFor(graphNode, packed);
  return ended(own, rest, (quantized.spec as MatrixSpec).N, (end) =>
    conv2d(x, quantized, window!, { ...arithmetic, ...end }),
  );
}

const windows = /* @__PURE__ */ new WeakMap<object, ConvolutionWindow>();

/** [x, filter, bias?, slopes?] */
export function depthwiseOp(graphNode: GraphNode): Tensor {
  const [x, filter, ...rest] = graphNode.inputs as [Tensor, Tensor, ...Tensor[]];
  const { name, op, rawAttrs } = graphNode.node;
  const window = windows.get(rawAttrs) ?? windowOf({ name, op, attr: rawAttrs });
  windows.set(rawAttrs, window);
  return ended(endOf(graphNode), rest, filter.shape[2]!, (end) => depthwiseConv2d(x, filter, window, end));
}

type End = Parameters<typeof depthwiseConv2d>[3];

function ended(
  { hasBias, hasSlopes, activation, alpha }: ReturnType<typeof endOf>,
  inputs: readonly Tensor[],
  N: number,
  run: (end: End) => Tensor,
): Tensor {
  const { tf } = requireRegistration('MsdConv2D');
  return tf.tidy(() => {
    const rest = [...inputs];
    const bias = hasBias ? rest.shift() : undefined;
    const slopes = hasSlopes ? rest.shift() : undefined;
    const late = bias && !isVector(bias, N) ? bias : undefined;
    const isLast = activation !== undefined && (late !== undefined || HAS_PARAMETER.includes(activation));
    let y = run({ bias: late ? undefined : bias, activation: isLast ? undefined : activation });
    if (late) y = tf.add(y, late);
    return isLast ? activate(tf, y, activation, slopes ?? alpha) : y;
  });
}
