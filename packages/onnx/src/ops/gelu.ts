/** Chains of nodes that spell Gelu, through erf or tanh. */
import type { GraphNode } from '../ir/graph.ts';
import type { Matcher } from '../passes/matcher.ts';
import { chain, isNear, madeWith } from './activations.ts';
import { otherOperand, type Pattern } from './operator.ts';

/** The node whose result alone `name` goes to, if it is this operation with a constant near `value`. */
function nextWith(matcher: Matcher, name: string, opType: string, value: number): GraphNode | undefined {
  const node = matcher.soleConsumer(name);
  const other = otherOperand(node, opType, name);
  return other !== undefined && isNear(matcher, other, value) ? node : undefined;
}

/**
 * What comes after the inner function of a Gelu: (1 + inner) times x and ½, in any order.
 *
 * @returns the nodes, `undefined` if it is something else
 */
function geluTail(matcher: Matcher, inner: string, x: string): GraphNode[] | undefined {
  const sum = nextWith(matcher, inner, 'Add', 1);
  if (!sum) return undefined;
  const [s = ''] = sum.outputs;
  const first = matcher.soleConsumer(s);
  const other = otherOperand(first, 'Mul', s);
  if (other === undefined) return undefined;
  const [product = ''] = first!.outputs;
  if (isNear(matcher, other, 0.5)) {
    const second = matcher.soleConsumer(product);
    return otherOperand(second, 'Mul', product) === x ? [sum, first!, second!] : undefined;
  }
  if (other === x) {
    const second = nextWith(matcher, product, 'Mul', 0.5);
    return second && [sum, first!, second];
  }
  const half = madeWith(matcher, other, 'Mul', 0.5);
  return half?.x === x ? [sum, half.node, first!] : undefined;
}

/** x · ½ · (1 + erf(x / √2)). */
const erfChain: Pattern = (matcher, node) => {
  const [inner = ''] = node.inputs;
  const scaled = madeWith(matcher, inner, 'Div', Math.SQRT2) ?? madeWith(matcher, inner, 'Mul', Math.SQRT1_2);
  if (!scaled) return undefined;
  const tail = geluTail(matcher, node.outputs[0]!, scaled.x);
  return tail && chain(matcher, 'Gelu', scaled.x, [scaled.node, node, ...tail]);
};

/** x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 · x³))). */
const tanhChain: Pattern = (matcher, node) => {
  const scaled = madeWith(matcher, node.inputs[0]!, 'Mul', Math.sqrt(2 / Math.PI));
  const sum = scaled && matcher.producer(scaled.x);
  if (sum?.opType !== 'Add') return undefined;
  for (const [x = '', term = ''] of [sum.inputs, sum.inputs.toReversed()]) {
    const cubed = madeWith(matcher, term, 'Mul', 0.044715);
    const power = cubed && madeWith(matcher, cubed.x, 'Pow', 3);
    if (power?.x !== x) continue;
    const tail = geluTail(matcher, node.outputs[0]!, x);
    if (tail) return chain(matcher, 'GeluTanh', x, [power.node, cubed!.node, sum, scaled!.node, node, ...tail]);
  }
  return undefined;
};

export const geluPatterns: Readonly<Record<string, Pattern>> = { Erf: erfChain, Tanh: tanhChain };
