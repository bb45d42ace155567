/** Where the windows of a convolution's node lie. */
import { type ConvolutionWindow, checkWindow, tapsOf } from '../convolution/window.ts';
import { ModelFormatError } from '../errors.ts';
import { type AttrValue, asString, type NodeDef, stringAttr, type Topology } from './topology.ts';

/** Nodes that the rewriting makes of convolutions with windows. */
export const hasConvolutionNodes = ({ node, library }: Topology): boolean =>
  [node, ...(library?.function ?? []).map(({ nodeDef = [] }) => nodeDef)].some((nodes) =>
    nodes.some(({ op }) => op === 'MsdConv2D' || op === 'MsdDepthwiseConv2D'),
  );

export const windowAttr = (window: ConvolutionWindow): AttrValue => asString(JSON.stringify(window));

/**
 * @param K rows of the weights, if they are packed
 * @throws {@link ModelFormatError} if it is none, or not what the weights are for
 */
export function windowOf(node: NodeDef, K?: number): ConvolutionWindow {
  const where = `${node.op} ${node.name}`;
  let window: ConvolutionWindow;
  try {
    window = checkWindow(JSON.parse(stringAttr(node, 'window') ?? 'null'), where);
  } catch (cause) {
    throw new ModelFormatError((cause as Error).message, { cause });
  }
  const taps = tapsOf(window);
  if (K !== undefined && K % taps !== 0)
    throw new ModelFormatError(
      `${where}: weights, expected a multiple of ${taps} rows for a window of [${window.kernel}], got ${K}.`,
    );
  return window;
}
