/**
 * An operator: how its results' types follow from its operands' (and their elements, where shape arithmetic has them). One
 * file per family; ops/index.ts is the table.
 */
import { OnnxFormatError } from '../errors.ts';
import { describeNode, type GraphNode } from '../ir/graph.ts';
import { type Concrete, type Info, infoOfConstant, isKnown, type Size, type Symbols } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import type { Attribute } from '../read/node.ts';
import { readRange } from '../read/source.ts';
import type { TensorRef } from '../read/tensor.ts';

export { operatorName } from '../data-types.ts';

/** An operator. Its functions get the node's attributes, and what is known about its operands. */
export interface Operator {
  /** With its domain where that is not ONNX's own: 'Add', 'com.microsoft.FastGelu'. */
  readonly name: string;
  /**
   * Types of all outputs, and their elements if the operands' are given and that is arithmetic which plain JavaScript does.
   *
   * @throws {@link RangeError} if sizes that are known contradict each other
   */
  infer(node: NodeView, inputs: readonly (Info | undefined)[], symbols: Symbols): readonly (Info | undefined)[];
  /** True if `infer` computes all outputs' elements from all inputs' elements, whatever they are. */
  readonly host?: boolean;
  /** The attributes that its functions know: a node with another one is left to ONNX Runtime. */
  readonly attributes?: readonly string[];
  /** Positions of operands whose elements, not only their sizes, decide the sizes of the results. */
  readonly sizedBy?: readonly number[];
  /** Position of the operand without which ONNX Runtime has no rule for the sizes of results, but of the first one. */
  readonly othersSizedBy?: number;
  /** It has subgraphs, which are planned like graphs. */
  readonly hasBodies?: boolean;
  /** Decided before all others: what it needs in every run is kept in JavaScript then. */
  readonly isFirst?: boolean;
  /** What MSD makes of a node, or the reason why it stays ONNX Runtime's. Absent: always ONNX Runtime's, or plain JavaScript's. */
  match?(node: NodeView, matcher: Matcher): Match | string;
}

/**
 * Finds a chain of nodes that one step replaces, from the node in it that is least common. A reason: it is such a chain, but each of
 * its nodes has to run for itself.
 */
export type Pattern = (matcher: Matcher, node: GraphNode) => Match | string | undefined;

const utf8 = /* @__PURE__ */ new TextDecoder();

/** A node with its attributes by kind. */
export class NodeView {
  readonly node: GraphNode;
  /** Version of the operator set that the node's operator belongs to. */
  readonly version: number;
  readonly #tensors = new Map<string, Info>();

  constructor(node: GraphNode, opsets: ReadonlyMap<string, number>) {
    this.node = node;
    this.version = opsets.get(node.domain) ?? 1;
  }

  int(name: string, otherwise: number): number {
    return this.#attribute(name, 'int')?.value ?? otherwise;
  }

  float(name: string, otherwise: number): number {
    return this.#attribute(name, 'float')?.value ?? otherwise;
  }

  ints(name: string): readonly number[] | undefined {
    return this.#attribute(name, 'ints')?.value;
  }

  string(name: string, otherwise: string): string {
    const range = this.#attribute(name, 'string')?.value;
    return range ? utf8.decode(readRange(range)) : otherwise;
  }

  strings(name: string): readonly string[] | undefined {
    return this.#attribute(name, 'strings')?.value.map((range) => utf8.decode(readRange(range)));
  }

  has(name: string): boolean {
    return this.node.attributes.has(name);
  }

  /** Type and elements of an attribute that is a small tensor. Read once: later the file may be closed. */
  tensor(name: string): Info | undefined {
    let info = this.#tensors.get(name);
    const attribute = info ? undefined : this.#attribute(name, 'tensor');
    if (attribute) {
      info = infoOfConstant({ kind: 'tensor', tensor: attribute.value });
      this.#tensors.set(name, info);
    }
    return info;
  }

  /** An error about an operand that is a matter of sizes. */
  fail(what: string, expected: string, got: string): never {
    throw new RangeError(`run: ${describeNode(this.node)}: ${what}, expected ${expected}, got ${got}.`);
  }

  #attribute<Kind extends Attribute['kind']>(name: string, kind: Kind): Extract<Attribute, { kind: Kind }> | undefined {
    const attribute = this.node.attributes.get(name);
    if (attribute === undefined || isOf(attribute, kind)) return attribute;
    throw new OnnxFormatError(
      `read: ${describeNode(this.node)}: attribute '${name}', expected ${kind}, got ${attribute.kind}.`,
    );
  }
}

function isOf<Kind extends Attribute['kind']>(
  attribute: Attribute,
  kind: Kind,
): attribute is Extract<Attribute, { kind: Kind }> {
  return attribute.kind === kind;
}

/** Elements that are all numbers. */
export function elements(info: Info | undefined): readonly number[] | undefined {
  const data = info?.data;
  return isKnown(data) ? data : undefined;
}

/** An axis counted from the front. */
export function axisOf(node: NodeView, axis: number, rank: number): number {
  const from = axis < 0 ? axis + rank : axis;
  if (!(from >= 0 && from < rank)) node.fail('axis', `one of ${rank} dimensions`, `${axis}`);
  return from;
}

/** Sizes of a result whose operands are repeated along dimensions of 1. `undefined` if a rank is unknown. */
export function broadcast(
  node: NodeView,
  shapes: readonly (readonly Size[] | undefined)[],
  symbols: Symbols,
): readonly Size[] | undefined {
  let rank = 0;
  for (const shape of shapes) {
    if (shape === undefined) return undefined;
    rank = Math.max(rank, shape.length);
  }
  const result: Size[] = new Array<Size>(rank).fill(1);
  for (const shape of shapes) {
    const offset = rank - shape!.length;
    for (const [i, dim] of shape!.entries()) {
      const other = result[offset + i]!;
      if (dim === other || dim === 1) continue;
      if (other === 1) result[offset + i] = dim;
      else if (typeof dim === 'number' && typeof other === 'number')
        node.fail('operands', 'sizes that broadcast', shapes.map((each) => `[${each!.join(', ')}]`).join(' and '));
      else if (typeof dim === 'number')
        result[offset + i] = dim; // the symbol is either 1 or this
      else if (typeof other === 'string') result[offset + i] = symbols.fresh([dim, other]);
    }
  }
  return result;
}

/** An info that must not be open any more. */
export function concrete(info: Info | undefined, what: string): Concrete {
  if (!info || !isKnown(info.dims) || (info.data && !isKnown(info.data)))
    throw new RangeError(`run: ${what}, expected sizes that are known before it runs, got ${JSON.stringify(info)}.`);
  return info as Concrete;
}

/** The operand of a node of two beside `name`, which it has once. */
export function otherOperand(node: GraphNode | undefined, opType: string, name: string): string | undefined {
  if (node?.domain !== '' || node.opType !== opType || node.inputs.length !== 2) return undefined;
  const [a, b] = node.inputs;
  return a === name && b !== name ? b : b === name && a !== name ? a : undefined;
}

/** What an If gives whose branches hold nothing but tensors. */
export function branchesOf({ attributes }: GraphNode): readonly (readonly TensorRef[])[] | undefined {
  const branches = ['then_branch', 'else_branch'].flatMap((name) => {
    const branch = attributes.get(name);
    return branch?.kind === 'graph' && branch.constants ? [branch.constants] : [];
  });
  return branches.length === 2 ? branches : undefined;
}
