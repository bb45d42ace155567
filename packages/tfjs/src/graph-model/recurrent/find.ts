/**
 * Cells of LSTM and GRU in a graph, from the Split of their products on: what follows, element by element, becomes one node. The
 * products themselves are MatMul like all others.
 *
 *   lstm   i, f, g, o = Split(products)      c = σ(f) · c + σ(i) · tanh(g)     h = σ(o) · tanh(c)
 *   gru    z, r, n = Split(of x) and Split(of h)      h = z · h + (1 − z) · tanh(n + r · n')
 */
import { CELL_ACTIVATIONS, type CellActivation, type GatesOp } from '../../recurrent/gates.ts';
import { type Constants, floatsOf } from '../../weights/source.ts';
import { rootOf } from '../recognise.ts';
import { type NodeDef, numberAttr, parseInput, type Scope } from '../topology.ts';

export interface FoundCell {
  readonly op: GatesOp;
  /** Node of the new h, and of c. */
  readonly h: NodeDef;
  readonly c: NodeDef | undefined;
  /** As the graph names them: products, bias, state. */
  readonly inputs: readonly string[];
  /** Nodes that are gone, `h` aside. */
  readonly inner: readonly NodeDef[];
}

const ADDS: readonly string[] = ['Add', 'AddV2'];

/** A walk over one scope; every step gives up where a node is another one than expected. */
class Walk {
  readonly inner = new Set<NodeDef>();
  readonly #scope: Scope;
  readonly #constants: Constants;

  constructor(scope: Scope, constants: Constants) {
    this.#scope = scope;
    this.#constants = constants;
  }

  /** The node behind an input. */
  node(input: string): NodeDef | undefined {
    return this.#scope.nodes.get(parseInput(input).node);
  }

  /** Nodes that read an output; none if the value leaves the graph. */
  readers(of: NodeDef, index = 0): readonly NodeDef[] {
    return this.#scope.outputs.has(of.name) ? [] : this.allReaders(of, index);
  }

  allReaders(of: NodeDef, index = 0): readonly NodeDef[] {
    return (this.#scope.consumers.get(of.name) ?? []).filter(({ input = [] }) =>
      input.map(parseInput).some((own) => own.node === of.name && own.index === index && !own.control),
    );
  }

  /** The only reader of an output, of one of these ops; it is gone then. */
  only(of: NodeDef, ops: readonly string[], index = 0): NodeDef | undefined {
    const [reader, another] = this.readers(of, index);
    return reader && !another && ops.includes(reader.op) ? this.#gone(reader) : undefined;
  }

  /** Both operands of a node, this one first. */
  other(of: NodeDef, than: NodeDef, index = 0): string | undefined {
    const inputs = of.input ?? [];
    const at = inputs.map(parseInput).findIndex((own) => own.node === than.name && own.index === index);
    return inputs.length === 2 && at >= 0 ? inputs[1 - at] : undefined;
  }

  /** A node behind an input that nobody else reads, of one of these ops. */
  behind(input: string | undefined, ops: readonly string[], readers = 1): NodeDef | undefined {
    const node = input === undefined ? undefined : this.node(input);
    if (!node || !ops.includes(node.op) || this.readers(node, parseInput(input!).index).length !== readers)
      return undefined;
    return this.#gone(node);
  }

  /** A single number; Infinity is none, since gates are written down as JSON. */
  scalar(input: string | undefined): number | undefined {
    const constant = this.#constants.get((input !== undefined && rootOf(this.#scope, input)) || '');
    if (constant?.dtype !== 'float32' || constant.shape.some((size) => size !== 1)) return undefined;
    const value = floatsOf(constant.stored())[0];
    return Number.isFinite(value) ? value : undefined;
  }

  /** Along the last of two dimensions, in equal parts. */
  isSplit(node: NodeDef, count: number): boolean {
    if (node.op !== 'Split' || numberAttr(node, 'num_split') !== count || node.input?.length !== 2) return false;
    const axis = this.#constants.get(rootOf(this.#scope, node.input[0]!) ?? '');
    return axis?.dtype === 'int32' && [1, -1].includes(axis.integers()[0]!);
  }

  isVector(input: string | undefined): boolean {
    const constant = this.#constants.get((input !== undefined && rootOf(this.#scope, input)) || '');
    return constant?.dtype === 'float32' && constant.shape.length === 1;
  }

  #gone(node: NodeDef): NodeDef {
    this.inner.add(node);
    return node;
  }
}

export function findCell(split: NodeDef, scope: Scope, constants: Constants): FoundCell | undefined {
  const walk = new Walk(scope, constants);
  if (walk.isSplit(split, 4)) return lstmFrom(split, walk);
  return walk.isSplit(split, 3) ? gruFrom(split, walk) : undefined;
}

const parts = [0, 1, 2, 3];

function lstmFrom(split: NodeDef, walk: Walk): FoundCell | undefined {
  if (parts.some((part) => walk.readers(split, part).length !== 1)) return undefined;
  const isCandidate = (part: number) => CELL_ACTIVATIONS.includes(walk.readers(split, part)[0]!.op as CellActivation);
  const g = parts.find(isCandidate);
  const candidate = g === undefined ? undefined : walk.only(split, CELL_ACTIVATIONS, g);
  const gained = candidate && walk.only(candidate, ['Mul']);
  const input = gained && gateOf(walk, split, walk.other(gained, candidate));
  const c = gained && walk.only(gained, ADDS);
  const kept = c && walk.behind(walk.other(c, gained), ['Mul']);
  if (input?.added !== 0 || !c || !kept?.input) return undefined;
  const forget = kept.input.map((own) => gateOf(walk, split, own));
  const at = forget.findIndex((own) => own !== undefined);
  const state = kept.input[1 - at];
  // The new state stays a node: others may read it.
  const told = walk.allReaders(c).find(({ op }) => op === candidate.op);
  const h = told && walk.only(told, ['Mul']);
  const output = h && gateOf(walk, split, walk.other(h, told));
  if (at < 0 || state === undefined || !told || !h || output?.added !== 0) return undefined;
  const order = [input.part, forget[at]!.part, g!, output.part];
  const hard = sameGates([input, forget[at]!, output]);
  if (new Set(order).size !== 4 || hard === undefined) return undefined;
  const { terms, bias } = termsOf(walk, split);
  const inner = [split, ...walk.inner, told].filter((node) => node !== h && node !== c);
  const op: GatesOp = {
    id: 'lstm',
    order,
    terms: terms.length,
    hasBias: bias !== undefined,
    forget: forget[at]!.added,
    ...endsOf(candidate, hard),
  };
  return { op, h, c, inputs: [...terms, ...(bias === undefined ? [] : [bias]), state], inner };
}

type Hard = NonNullable<GatesOp['hard']>;

/** A gate: what it is the function of; a hard sigmoid with what x is multiplied by and what is added. */
interface Gate {
  readonly input: string;
  readonly hard: Hard | null;
}

/** A sigmoid, or a hard one spelt out: max(0, min(1, a · x + b)). */
function sigmoidAt(walk: Walk, input: string | undefined, readers = 1): Gate | undefined {
  const outer = walk.behind(input, ['Sigmoid', 'Maximum', 'Minimum', 'ClipByValue'], readers);
  if (outer?.op === 'Sigmoid')
    return outer.input?.[0] === undefined ? undefined : { input: outer.input[0], hard: null };
  const clipped = outer && clippedAt(walk, outer);
  const sum = walk.behind(clipped, ADDS);
  const added = sum && withNumber(walk, sum);
  const product = walk.behind(added?.other, ['Mul']);
  const factor = product && withNumber(walk, product);
  return added && factor ? { input: factor.other, hard: [factor.number, added.number] } : undefined;
}

/** What is kept between 0 and 1. */
function clippedAt(walk: Walk, outer: NodeDef): string | undefined {
  if (outer.op === 'ClipByValue') {
    const [x, least, most] = outer.input ?? [];
    return walk.scalar(least) === 0 && walk.scalar(most) === 1 ? x : undefined;
  }
  const [limit, op, other] = outer.op === 'Maximum' ? [0, 'Minimum', 1] : [1, 'Maximum', 0];
  const one = withNumber(walk, outer);
  const inner = one?.number === limit ? walk.behind(one.other, [op as string]) : undefined;
  const two = inner && withNumber(walk, inner);
  return two?.number === other ? two.other : undefined;
}

/** Of two operands the one that is a number, and the other. */
function withNumber(
  walk: Walk,
  { input = [] }: NodeDef,
): { readonly number: number; readonly other: string } | undefined {
  const numbers = input.map((own) => walk.scalar(own));
  const at = numbers.findIndex((number) => number !== undefined);
  return input.length === 2 && at >= 0 ? { number: numbers[at]!, other: input[1 - at]! } : undefined;
}

/** Of gates that are all one function; `undefined` if they are not. */
function sameGates(gates: readonly Pick<Gate, 'hard'>[]): Hard | null | undefined {
  const [first] = gates;
  return gates.every(({ hard }) => hard?.join() === first!.hard?.join()) ? first!.hard : undefined;
}

const endsOf = ({ op }: NodeDef, hard: Hard | null): Pick<GatesOp, 'activation' | 'hard'> => ({
  ...(op !== 'Tanh' && { activation: op as CellActivation }),
  ...(hard && { hard }),
});

/** A gate of a part of the split, of which a number may be added first. */
function gateOf(
  walk: Walk,
  split: NodeDef,
  input: string | undefined,
): { readonly part: number; readonly added: number; readonly hard: Hard | null } | undefined {
  const gate = sigmoidAt(walk, input);
  if (!gate) return undefined;
  const { input: before, hard } = gate;
  if (parseInput(before).node === split.name) return { part: parseInput(before).index, added: 0, hard };
  const sum = walk.behind(before, ADDS);
  const at = (sum?.input ?? []).findIndex((own) => parseInput(own).node === split.name);
  const added = at < 0 ? undefined : walk.scalar(sum!.input![1 - at]);
  return added === undefined ? undefined : { part: parseInput(sum!.input![at]!).index, added, hard };
}

/** What is split: a sum of two products, with a bias behind it, or one tensor. */
function termsOf(walk: Walk, split: NodeDef): { readonly terms: readonly string[]; readonly bias: string | undefined } {
  const whole = split.input![1]!;
  const biased = walk.node(whole)?.op === 'BiasAdd' ? walk.node(whole)! : undefined;
  const inside = biased?.input?.[0] ?? whole;
  const sum = walk.node(inside);
  const isSum = sum && ADDS.includes(sum.op) && sum.input?.length === 2 && walk.readers(sum).length === 1;
  const isFree = !biased || (walk.readers(biased).length === 1 && walk.isVector(biased.input?.[1]));
  if (!isSum || !isFree) return { terms: [whole], bias: undefined };
  if (biased) walk.inner.add(biased);
  walk.inner.add(sum);
  return { terms: sum.input as string[], bias: biased?.input?.[1] };
}

/** @param split of what comes of the state */
function gruFrom(split: NodeDef, walk: Walk): FoundCell | undefined {
  const left = walk.only(split, ['Mul'], 2);
  const reset = left && sigmoidAt(walk, walk.other(left, split, 2));
  const sum = left && walk.only(left, ADDS);
  const own = sum && walk.other(sum, left);
  const first = own === undefined ? undefined : walk.node(own);
  if (!reset || !sum || !first || !walk.isSplit(first, 3) || parseInput(own!).index !== 2) return undefined;
  const candidate = walk.only(sum, CELL_ACTIVATIONS);
  const gained = candidate && walk.only(candidate, ['Mul']);
  const open = gained && walk.behind(walk.other(gained, candidate), ['Sub']);
  const update = open?.input?.[1] === undefined ? undefined : walk.node(open.input[1]);
  const h = gained && walk.only(gained, ADDS);
  const kept = h && walk.behind(walk.other(h, gained), ['Mul']);
  if (!open || walk.scalar(open.input?.[0]) !== 1 || !update || !h || !kept) return undefined;
  const state = walk.other(kept, update);
  const isAlone = [first, split].every((one) => [0, 1, 2].every((part) => walk.readers(one, part).length === 1));
  if (state === undefined || !isAlone || walk.readers(update).length !== 2) return undefined;
  const gate = sigmoidAt(walk, open.input![1], 2);
  const isBoth = (one: Gate, part: number) => {
    const both = walk.behind(one.input, ADDS);
    const read = (both?.input ?? []).map(parseInput);
    return [first, split].every(({ name }) => read.some(({ node, index }) => node === name && index === part));
  };
  const hard = gate && sameGates([gate, reset]);
  if (!gate || hard === undefined || !isBoth(gate, 0) || !isBoth(reset, 1)) return undefined;
  const inner = [first, split, ...walk.inner].filter((node) => node !== h);
  const op: GatesOp = { id: 'gru', order: [0, 1, 2], terms: 2, hasBias: false, forget: 0, ...endsOf(candidate, hard) };
  return { op, h, c: undefined, inputs: [first.input![1]!, split.input![1]!, state], inner };
}
