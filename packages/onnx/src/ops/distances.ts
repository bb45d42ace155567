/**
 * Finds arithmetic of whole numbers on large tensors: distances between positions that become buckets (T5, MPNet, DeBERTa), from the
 * logarithm among it. What follows from sizes alone is computed once in a plan.
 */
import { isFloat } from '../data-types.ts';
import { sameNumbers } from '../dims.ts';
import { describeNode, type GraphNode } from '../ir/graph.ts';
import { HOST_TYPES, type Info, isKnown } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { neededNodes } from '../plan/units.ts';
import { isWhole } from './arithmetic.ts';
import { OPERATORS } from './index.ts';
import type { Elements, Lowering } from './lowering.ts';
import type { NodeView, Pattern } from './operator.ts';
import { evaluator } from './row-evaluator.ts';
import { type Row, rowOp } from './row-loops.ts';
import { NO_SYMBOLS } from './shape.ts';

/** Operators of two operands, of one, and Where. */
const KNOWN: ReadonlySet<string> = /* @__PURE__ */ new Set(
  (
    'Abs Add And Cast Ceil Div Equal Floor Greater GreaterOrEqual Less LessOrEqual Log Max Min Mod Mul Neg Not Or Sqrt ' +
    'Sub Where Xor'
  ).split(' '),
);

/** Will JavaScript have the value at hand before the device does anything? Its nodes are decided on later. */
function isMadeBefore(matcher: Matcher, name: string, seen = new Map<string, boolean>()): boolean {
  let made = seen.get(name);
  if (made === undefined) {
    made = matcher.isHostSized(name) && isAtHand(matcher, name, (input) => isMadeBefore(matcher, input, seen));
    seen.set(name, made);
  }
  return made;
}

function isAtHand(matcher: Matcher, name: string, isMade: (input: string) => boolean): boolean {
  const node = matcher.producer(name);
  if (node) return matcher.isShapeArithmetic(node, isMade, (input) => matcher.producer(input) !== undefined);
  const { elemType = 0, data } = matcher.info(name) ?? {};
  return data !== undefined || (!matcher.isConstant(name) && !isFloat(elemType));
}

/** Is a node one of large tensors that are computed here? */
function isPart(matcher: Matcher, node: GraphNode | undefined): node is GraphNode {
  if (node?.domain !== '' || !KNOWN.has(node.opType) || node.outputs.length !== 1) return false;
  if ([...node.attributes.keys()].some((name) => name !== 'to')) return false;
  const [name = ''] = node.outputs;
  const info = matcher.info(name);
  if (!info?.dims || !HOST_TYPES.has(info.elemType) || matcher.isHostSized(name)) return false;
  return !matcher.grows(name); // of a decoder's tokens: told to attention in every run
}

/** The node with all that it is made of, down to what JavaScript has before; `undefined` if something else is among it. */
function withParts(matcher: Matcher, node: GraphNode): Set<GraphNode> | undefined {
  const parts = new Set([node]);
  for (const part of parts)
    for (const name of part.inputs) {
      if (isMadeBefore(matcher, name)) continue;
      const producer = matcher.producer(name);
      if (!isPart(matcher, producer)) return undefined;
      parts.add(producer);
    }
  return parts;
}

/** Finds all arithmetic that hangs together with a logarithm. */
export const distances: Pattern = (matcher, log) => {
  if (!isPart(matcher, log)) return undefined;
  const parts = withParts(matcher, log);
  if (!parts) return undefined;
  const needed = new Set(neededNodes(matcher.graph));
  const consumersOf = (node: GraphNode): readonly GraphNode[] =>
    (matcher.graph.consumers.get(node.outputs[0]!) ?? []).filter((next) => needed.has(next));
  for (const part of parts)
    for (const next of consumersOf(part))
      if (!parts.has(next) && isPart(matcher, next)) for (const each of withParts(matcher, next) ?? []) parts.add(each);
  const isOutput = new Set(matcher.graph.outputs.map(({ name }) => name));
  const isNeeded = (node: GraphNode): boolean =>
    isOutput.has(node.outputs[0]!) || consumersOf(node).some((next) => !parts.has(next));
  const isWholeNode = (node: GraphNode): boolean => isWhole(matcher.info(node.outputs[0]!)!.elemType);
  // Floats and bools at its end are for the device, which computes them from whole numbers.
  for (let changed = true; changed; ) {
    const end = [...parts].find((node) => isNeeded(node) && !isWholeNode(node));
    changed = end !== undefined;
    if (!end) break;
    if (consumersOf(end).some((next) => parts.has(next))) return undefined;
    parts.delete(end);
  }
  const nodes = [...parts].sort((a, b) => a.index - b.index);
  const ends = nodes.filter(isNeeded);
  // Whatever reads more than 32 bits gets them from ONNX Runtime; no table has as many rows.
  const isIndex = ({ outputs: [name = ''] }: GraphNode): boolean =>
    !isOutput.has(name) &&
    (matcher.graph.consumers.get(name) ?? []).every(
      (next) => parts.has(next) || (next.opType === 'Gather' && next.inputs[0] !== name) || !needed.has(next),
    );
  return parts.has(log) && ends.length > 0 && ends.every(isIndex) ? matchOf(matcher, nodes, ends) : undefined;
};

function matchOf(matcher: Matcher, nodes: readonly GraphNode[], ends: readonly GraphNode[]): Match {
  const made = new Set(nodes.map((node) => node.outputs[0]!));
  const leaves = [...new Set(nodes.flatMap((node) => node.inputs))].filter((name) => !made.has(name));
  const views = new Map(nodes.map((node) => [node, matcher.view(node)] as const));
  const elemTypes = new Map([...leaves, ...made].map((name) => [name, matcher.info(name)!.elemType] as const));
  return {
    op: 'integer arithmetic',
    place: 'device',
    nodes,
    inputs: leaves.filter((name) => !matcher.isConstant(name)),
    outputs: ends.map((node) => node.outputs[0]!),
    lower(to) {
      for (const end of ends) lowerEnd(to, end, { nodes, leaves, views, elemTypes });
    },
  };
}

interface Arithmetic {
  readonly nodes: readonly GraphNode[];
  readonly leaves: readonly string[];
  readonly views: ReadonlyMap<GraphNode, NodeView>;
  readonly elemTypes: ReadonlyMap<string, number>;
}

function lowerEnd(to: Lowering, end: GraphNode, { nodes, leaves, views, elemTypes }: Arithmetic): void {
  const [name] = end.outputs as [string];
  const infos = new Map<string, Info>(leaves.map((leaf) => [leaf, to.info(leaf)]));
  const dimsOf = (each: string): readonly number[] => infos.get(each)!.dims as readonly number[];
  for (const node of nodes) {
    const operands = node.inputs.map((input) => ({ elemType: elemTypes.get(input)!, dims: dimsOf(input) }));
    infos.set(node.outputs[0]!, OPERATORS.get(node.opType)!.infer(views.get(node)!, operands, NO_SYMBOLS)[0]!);
  }
  const needed = new Set([end]);
  for (const node of nodes.toReversed())
    if (nodes.some((next) => needed.has(next) && next.inputs.includes(node.outputs[0]!))) needed.add(node);
  const own = nodes.filter((node) => needed.has(node));
  const used = leaves.filter((leaf) => own.some((node) => node.inputs.includes(leaf)));
  const open = used.filter((leaf) => !isKnown(infos.get(leaf)!.data));
  const dims = dimsOf(name);
  const evaluate = evaluator(
    own.map((node) => ({
      name: node.outputs[0]!,
      inputs: node.inputs,
      op: rowOp(
        views.get(node)!,
        node.inputs.map((input) => elemTypes.get(input)!),
        elemTypes.get(node.outputs[0]!)!,
      ),
    })),
    new Map(used.map((leaf) => [leaf, dimsOf(leaf)])),
    dims,
  );
  let before: readonly ArrayLike<number>[] | undefined;
  const slot = to.computed({
    key: `integers ${name}`,
    dims,
    needs: open,
    compute(values, out) {
      if (before?.every((data, i) => sameNumbers(data, values[i]!.data))) return false;
      before = undefined;
      evaluate(
        (leaf) => {
          const at = open.indexOf(leaf);
          return at < 0 ? (infos.get(leaf) as Elements) : values[at]!;
        },
        indicesIn(out as Int32Array, end),
      );
      before = values.map(({ data }) => Array.from(data));
      return true;
    },
  });
  to.alias(name, slot, dims);
}

/** Writes rows as indices. */
const indicesIn =
  (out: Int32Array, node: GraphNode) =>
  (row: Row, n: number, at: number): void => {
    for (let i = 0; i < n; i++) {
      const value = row[i]!;
      out[at + i] = value;
      if (out[at + i] !== value)
        throw new RangeError(`run: ${describeNode(node)}: result, expected indices of 32 bits, got ${value}.`);
    }
  };
