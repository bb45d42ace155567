/** The body of a loop, node by node: values of {@link Value}, products with constants, rows of sequences. */

import { COMPARISONS, type Comparison } from '../../recurrent/program.ts';
import { sizeOf } from '../../shapes.ts';
import { type Constants, floatsOf } from '../../weights/source.ts';
import type { MatrixView } from '../../weights/view.ts';
import { recognise } from '../recognise.ts';
import { boolAttr, type NodeDef, numberAttr, stringAttr } from '../topology.ts';
import { columnsOf, isSlice, slicedInput } from './columns.ts';
import { isPosition, sequenceOf } from './lists.ts';
import { constantAt, constantName, type Inner, isInvariant, type Loop, outerInput, refuse } from './loop.ts';
import { ENDINGS, OPERATIONS } from './operations.ts';
import { type Draft, expression, number, slice, type Value, whole, widthOf } from './values.ts';

export interface Product {
  readonly node: NodeDef;
  readonly constant: string;
  readonly K: number;
  readonly input: Value;
  readonly to: Draft;
}

const PRODUCTS = ['MatMul', '_FusedMatMul', 'BatchMatMul', 'BatchMatMulV2', 'BatchMatMulV3', 'Einsum'];
/** Values are followed by functions that call themselves. */
const DEEPEST = 1000;
const MASK_SHAPES = ['Tile', 'BroadcastTo', 'ExpandDims', 'Reshape'];

export class Body {
  readonly loop: Loop;
  /** In an order in which each can be made. */
  readonly products: Product[] = [];
  /** All nodes of products, also of sequences, which are made before the loop. */
  readonly nodes: { readonly node: NodeDef; readonly constant: string }[] = [];
  /** Constants of which columns are taken, and the nodes that take them. */
  readonly sliced = new Map<string, MatrixView>();
  readonly slices = new Set<NodeDef>();
  readonly ops: string[] = [];
  readonly #constants: Constants;
  readonly #starts: ReadonlyMap<number, number>;
  readonly #values = new Map<string, Value>();
  readonly #places = new Map<string, Draft>();
  readonly #made = new Map<Value, Map<string, Draft>>();
  #depth = 0;
  /** How constants are multiplied with. */
  readonly #transposed = new Map<string, boolean>();

  /** @param starts where the variables that count begin */
  constructor(loop: Loop, constants: Constants, starts: ReadonlyMap<number, number>) {
    this.loop = loop;
    this.#constants = constants;
    this.#starts = starts;
  }

  value(input: string): Value {
    const found = this.loop.find(input);
    const key = found.kind === 'node' ? `${found.node.name}:${found.output}` : JSON.stringify(found);
    const known = this.#values.get(key);
    if (known) return known;
    if (this.#depth >= DEEPEST) refuse(`a chain of more than ${DEEPEST} operations, or a circle`);
    this.#depth++;
    const made = this.#make(found);
    this.#depth--;
    this.#values.set(key, made);
    return made;
  }

  state(index: number): Draft {
    return this.#place(`state ${index}`, {
      kind: 'state',
      width: undefined,
      input: this.loop.variables[index]!.initial,
    });
  }

  #place(key: string, draft: Draft): Draft {
    const known = this.#places.get(key) ?? draft;
    this.#places.set(key, known);
    return known;
  }

  #make(found: Inner): Value {
    const constant = constantAt(this.loop, found, this.#constants);
    if (constant) return this.#constant(constantName(this.loop, found)!, found);
    if (found.kind === 'variable' && !isInvariant(this.loop, found.index)) {
      if (this.#starts.has(found.index)) refuse('a number that counts is computed with');
      return whole(this.state(found.index));
    }
    const input = outerInput(this.loop, found);
    // The same at each position: a state that never changes.
    if (input !== undefined) return whole(this.#place(`fixed ${input}`, { kind: 'state', width: undefined, input }));
    return this.#node(found as Extract<Inner, { kind: 'node' }>);
  }

  #constant(name: string, found: Inner): Value {
    const constant = this.#constants.get(name)!;
    if (constant.dtype !== 'float32') refuse(`a constant of ${constant.dtype}`);
    const size = sizeOf(constant.shape);
    if (size === 1) {
      const value = floatsOf(constant.stored())[0] ?? refuse('a number that is not there');
      // A program is JSON, which has no word for these.
      return Number.isFinite(value) ? number(value) : refuse(`the number ${value}`);
    }
    if (size !== constant.shape.at(-1)) refuse(`a constant of shape [${constant.shape}] between products`);
    const input = outerInput(this.loop, found) ?? name;
    return whole(this.#place(`vector ${name}`, { kind: 'vector', width: size, input }));
  }

  #node({ node, output }: Extract<Inner, { kind: 'node' }>): Value {
    const inputs = (node.input ?? []).filter((input) => !input.startsWith('^'));
    if (this.loop.inner.outputs.has(node.name) && this.loop.inner === this.loop.outer)
      refuse(`${node.name} is an output of the model`);
    const sequence = sequenceOf(this.loop, node, inputs, this.#constants, this.#starts);
    if (sequence) {
      if (sequence.isMask) return { kind: 'mask', input: sequence.input };
      return whole(
        this.#place(`sequence ${sequence.input}`, { kind: 'sequence', width: undefined, input: sequence.input }),
      );
    }
    this.ops.push(node.op);
    if (PRODUCTS.includes(node.op)) return this.#product(node);
    if (isSlice(node)) return this.#slice(node, inputs, output);
    if (node.op === 'Unpack') return this.#unpacked(node, inputs, output);
    if (node.op === 'Concat' || node.op === 'ConcatV2') return this.#joined(node, inputs);
    if (node.op === 'Select' || node.op === 'SelectV2') return this.#chosen(node, inputs);
    const compared = this.#compared(node, inputs);
    if (compared) return compared;
    if (MASK_SHAPES.includes(node.op)) {
      const mask = this.value(inputs[0] ?? '');
      if (mask.kind === 'mask') return mask;
    }
    if (/^Logical(Not|And|Or)$/.test(node.op)) {
      const fn = { LogicalNot: 'Not', LogicalAnd: 'And', LogicalOr: 'Or' } as const;
      return expression(
        fn[node.op as keyof typeof fn],
        inputs.map((input) => this.value(input)),
      );
    }
    const operation = Object.hasOwn(OPERATIONS, node.op) ? OPERATIONS[node.op]! : undefined;
    const made = operation?.(
      inputs.map((input) => this.value(input)),
      node,
    );
    return made ?? refuse(`${node.op} in the loop`);
  }

  #product(node: NodeDef): Value {
    const part = this.#partOf(node);
    if (part) return slice(whole(part.to), part.offset, part.width);
    const found = recognise(node, this.loop.inner, this.#constants);
    if ('reason' in found) return refuse(`${node.name}: ${found.reason}`);
    const { view, constant, inputs, bias, activation, contracted, free } = found;
    // Of these MatMul alone says that its states are rows, [batch, width].
    const isOfRows =
      node.op === 'Einsum'
        ? contracted === 1 && free?.length === 1 && /->\s*\w\s*\w\s*$/.test(stringAttr(node, 'equation') ?? '')
        : !node.op.startsWith('BatchMatMul');
    if (view.kind !== 'matrix' || view.batchShape.length || !isOfRows)
      return refuse(`${node.op} of more than rows and a matrix`);
    const to = this.#multiplied(node, constant, view, inputs[0]!);
    const sum = bias === undefined ? whole(to) : expression('Add', [whole(to), this.value(bias)]);
    if (activation === undefined) return sum;
    const ending = Object.hasOwn(ENDINGS, activation) ? OPERATIONS[ENDINGS[activation]!] : undefined;
    return ending?.([sum], node) ?? refuse(`fused ${activation}`);
  }

  /** Where the product of an input with a constant is; of one of the two it is made once. */
  #multiplied(node: NodeDef, constant: string, { N, K, transposed }: MatrixView, of: string): Draft {
    const input = this.value(of);
    if ((this.#transposed.get(constant) ?? transposed) !== transposed)
      refuse(`${constant} as it is and transposed, both in the loop`);
    this.#transposed.set(constant, transposed);
    const known = this.#made.get(input)?.get(constant);
    this.nodes.push({ node, constant });
    if (known) return known;
    const isSequence =
      input.kind === 'row' && input.place.kind === 'sequence' && !input.place.weight && input.width === undefined;
    let to: Draft;
    if (isSequence) {
      const weight = { constant, node: node.name, transposed };
      to = { kind: 'sequence', width: N, input: input.place.input!, weight };
    } else {
      to = { kind: 'local', width: N };
      this.products.push({ node, constant, K, input, to });
    }
    this.#made.set(input, (this.#made.get(input) ?? new Map<string, Draft>()).set(constant, to));
    return to;
  }

  /** A product with some columns of a constant is a part of the product with all of them. */
  #partOf(node: NodeDef): { readonly to: Draft; readonly offset: number; readonly width: number } | undefined {
    const [x, weight] = (node.input ?? []).filter((input) => !input.startsWith('^'));
    const found = node.op === 'MatMul' && weight !== undefined ? this.loop.find(weight) : undefined;
    if (found?.kind !== 'node' || !isSlice(found.node)) return undefined;
    const inputs = (found.node.input ?? []).filter((input) => !input.startsWith('^'));
    const constant = constantAt(this.loop, this.loop.find(slicedInput(found.node, inputs)), this.#constants);
    if (constant?.dtype !== 'float32' || constant.shape.length !== 2) return undefined;
    if (boolAttr(node, 'transpose_a', 'transpose_b')) return refuse('a transposed product with some columns');
    const [K, N] = constant.shape as [number, number];
    const integers = this.#integers;
    const [offset, width] = columnsOf(found.node, inputs, { rank: 2, width: N, output: found.output, integers });
    const view: MatrixView = { kind: 'matrix', batchShape: [], N, K, transposed: false };
    this.sliced.set(constant.name, view);
    this.slices.add(found.node);
    return { to: this.#multiplied(node, constant.name, view, x!), offset, width };
  }

  #integers = (input: string | undefined): readonly number[] | undefined => {
    if (input === undefined) return undefined;
    const constant = constantAt(this.loop, this.loop.find(input), this.#constants);
    return constant?.dtype === 'int32' ? Array.from(constant.integers()) : undefined;
  };

  #slice(node: NodeDef, inputs: readonly string[], output: number): Value {
    const input = slicedInput(node, inputs);
    const value = this.value(input);
    const width = widthOf(value) ?? refuse(`${node.op} of unknown width`);
    const rank = constantAt(this.loop, this.loop.find(input), this.#constants)?.shape.length === 1 ? 1 : 2;
    return slice(value, ...columnsOf(node, inputs, { rank, width, output, integers: this.#integers }));
  }

  /** Biases are one constant in Keras's file, [2, width]. */
  #unpacked(node: NodeDef, inputs: readonly string[], output: number): Value {
    const found = this.loop.find(inputs[0] ?? '');
    const constant = constantAt(this.loop, found, this.#constants);
    const [rows = 0, width = 0, more] = constant?.shape ?? [];
    if (constant?.dtype !== 'float32' || !width || more !== undefined || numberAttr(node, 'axis') || output >= rows)
      return refuse('Unpack of something else than rows of a constant');
    const input = outerInput(this.loop, found) ?? constant.name;
    const place = this.#place(`vector ${constant.name}`, { kind: 'vector', width: rows * width, input });
    return slice(whole(place), output * width, width);
  }

  #joined(node: NodeDef, inputs: readonly string[]): Value {
    const isFirst = node.op === 'Concat';
    const axis = this.#integers(isFirst ? inputs[0] : inputs.at(-1))?.[0];
    if (axis !== 1 && axis !== -1) refuse(`${node.op} along another axis than the last`);
    const parts = (isFirst ? inputs.slice(1) : inputs.slice(0, -1)).map((input) => this.value(input));
    return parts.length === 1 ? parts[0]! : { kind: 'joined', parts };
  }

  /** The position against a length for each row. */
  #compared({ op }: NodeDef, inputs: readonly string[]): Value | undefined {
    const at = COMPARISONS.indexOf(op as Comparison);
    if (at < 0) return undefined;
    const isLeft = isPosition(this.loop, inputs[0], this.#starts);
    if (!isLeft && !isPosition(this.loop, inputs[1], this.#starts)) return undefined;
    const found = this.loop.find(inputs[isLeft ? 1 : 0] ?? '');
    const input = outerInput(this.loop, found) ?? constantName(this.loop, found) ?? refuse('lengths that change');
    // a < b is b > a
    return { kind: 'mask', input, compare: COMPARISONS[isLeft ? at : [2, 3, 0, 1][at]!]! };
  }

  #chosen({ op }: NodeDef, [mask = '', a = '', b = '']: readonly string[]): Value {
    const chosen = this.value(mask);
    // Only Select takes one bool for each row.
    if (chosen.kind === 'mask' && chosen.compare && op !== 'Select') refuse('SelectV2 by lengths');
    const isBool = (value: Value): boolean =>
      value.kind === 'mask' ||
      (value.kind === 'expression' && ['Not', 'And', 'Or'].includes(value.fn) && value.args.every(isBool));
    if (!isBool(chosen)) refuse('a choice by something that is no mask of the sequence');
    return expression('Where', [chosen, this.value(a), this.value(b)]);
  }
}
