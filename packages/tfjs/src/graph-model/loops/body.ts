/** The body of a loop, node by node: values of {@link Value}, products with constants, rows of sequences. */

import { COMPARISONS, type Comparison } from '../../recurrent/program.ts';
import { sizeOf } from '../../shapes.ts';
import { type Constants, floatsOf } from '../../weights/source.ts';
import { recognise } from '../recognise.ts';
import { type NodeDef, numberAttr } from '../topology.ts';
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
const MASK_SHAPES = ['Tile', 'BroadcastTo', 'ExpandDims', 'Reshape'];

export class Body {
  readonly loop: Loop;
  /** In an order in which each can be made. */
  readonly products: Product[] = [];
  /** Nodes of products that are made of sequences, before the loop. */
  readonly hoisted: NodeDef[] = [];
  readonly ops: string[] = [];
  readonly #constants: Constants;
  readonly #starts: ReadonlyMap<number, number>;
  readonly #values = new Map<string, Value>();
  readonly #places = new Map<string, Draft>();

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
    const made = this.#make(found);
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
    if (size === 1) return number(floatsOf(constant.stored())[0] ?? refuse('a number that is not there'));
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
    if (node.op === 'Split' || node.op === 'SplitV' || node.op === 'StridedSlice')
      return this.#slice(node, inputs, output);
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
    const { inner } = this.loop;
    const found = recognise(node, inner, this.#constants);
    if ('reason' in found) return refuse(`${node.name}: ${found.reason}`);
    const { view, constant, inputs, bias, activation, contracted, free } = found;
    if (view.kind !== 'matrix' || view.batchShape.length || (contracted ?? 1) !== 1 || (free?.length ?? 1) !== 1)
      return refuse(`${node.op} of more than rows and a matrix`);
    const { N, K } = view;
    const input = this.value(inputs[0]!);
    const isSequence =
      input.kind === 'row' && input.place.kind === 'sequence' && !input.place.weight && input.width === undefined;
    let to: Draft;
    if (isSequence) {
      const weight = { constant, node: node.name, transposed: view.transposed };
      to = { kind: 'sequence', width: N, input: input.place.input!, weight };
      this.hoisted.push(node);
    } else {
      to = { kind: 'local', width: N };
      this.products.push({ node, constant, K, input, to });
    }
    const sum = bias === undefined ? whole(to) : expression('Add', [whole(to), this.value(bias)]);
    if (activation === undefined) return sum;
    const ending = Object.hasOwn(ENDINGS, activation) ? OPERATIONS[ENDINGS[activation]!] : undefined;
    return ending?.([sum], node) ?? refuse(`fused ${activation}`);
  }

  #integers(input: string | undefined): readonly number[] | undefined {
    if (input === undefined) return undefined;
    const constant = constantAt(this.loop, this.loop.find(input), this.#constants);
    return constant?.dtype === 'int32' ? Array.from(constant.integers()) : undefined;
  }

  #slice(node: NodeDef, inputs: readonly string[], output: number): Value {
    if (node.op === 'StridedSlice') return this.#columns(node, inputs);
    const [axisInput, valueInput] = node.op === 'Split' ? inputs : [inputs[2], inputs[0]];
    const axis = this.#integers(axisInput)?.[0];
    if (axis !== 1 && axis !== -1) refuse(`${node.op} along another axis than the last`);
    const value = this.value(valueInput ?? '');
    const width = widthOf(value) ?? refuse(`${node.op} of unknown width`);
    if (node.op === 'Split') {
      const count = numberAttr(node, 'num_split') ?? 0;
      if (!(count > output) || width % count) refuse(`${node.op} into parts that are not equal`);
      return slice(value, (output * width) / count, width / count);
    }
    const sizes = [...(this.#integers(inputs[1]) ?? refuse('SplitV of sizes that are no constants'))];
    const rest = sizes.indexOf(-1);
    if (rest >= 0) sizes[rest] = width - sizes.reduce((sum, size) => sum + size, 1);
    if (sizes.reduce((sum, size) => sum + size, 0) !== width || !((sizes[output] ?? 0) > 0))
      refuse('SplitV of other sizes');
    return slice(
      value,
      sizes.slice(0, output).reduce((sum, size) => sum + size, 0),
      sizes[output]!,
    );
  }

  /** x[:, begin:end] */
  #columns(node: NodeDef, inputs: readonly string[]): Value {
    const mask = (name: string) => numberAttr(node, name) ?? 0;
    const value = this.value(inputs[0] ?? '');
    const width = widthOf(value) ?? refuse('StridedSlice of unknown width');
    const [begin, end, strides] = [1, 2, 3].map((at) => this.#integers(inputs[at]));
    const isPlain =
      begin?.length === 2 &&
      end?.length === 2 &&
      strides?.join() === '1,1' &&
      (mask('begin_mask') & 1) === 1 &&
      (mask('end_mask') & 1) === 1 &&
      !mask('ellipsis_mask') &&
      !mask('new_axis_mask') &&
      !mask('shrink_axis_mask');
    if (!isPlain) return refuse('StridedSlice of more than columns');
    const at = (given: number) => Math.max(0, Math.min(width, given < 0 ? given + width : given));
    const from = mask('begin_mask') & 2 ? 0 : at(begin[1]!);
    const to = mask('end_mask') & 2 ? width : at(end[1]!);
    if (!(to > from)) return refuse('StridedSlice of no columns');
    return slice(value, from, to - from);
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
