/** A loop as a program: its variables sorted into states, lists and counters, its body put into steps. */
import type { LoopOutput, Part, Step } from '../../recurrent/program.ts';
import type { Constants } from '../../weights/source.ts';
import type { MatrixView } from '../../weights/view.ts';
import { rootOf } from '../recognise.ts';
import { type NodeDef, parseInput } from '../topology.ts';
import { Body } from './body.ts';
import { readersOfList, writeOf } from './lists.ts';
import { constantAt, integerOf, isInvariant, type Loop, outerInput, Refusal, refuse } from './loop.ts';
import { type Draft, type Mask, type Row, Rows, unify, type Value, whole, widthOf } from './values.ts';

export interface LoopPlan {
  readonly loop: Loop;
  /** Places, as steps and outputs count them. */
  readonly places: readonly Draft[];
  readonly steps: readonly Step[];
  /** Constants of products, as steps count them. */
  readonly matrices: readonly string[];
  readonly limits: readonly string[];
  readonly limit: number | undefined;
  readonly outputs: readonly LoopOutput[];
  /** Nodes around the loop that become an output of it, or something else that is there. */
  readonly results: readonly { readonly node: NodeDef; readonly input: string | number }[];
  readonly products: readonly NodeDef[];
  /** Constants of which the loop's products, and nobody else, multiply with some columns. */
  readonly sliced: ReadonlyMap<string, SlicedConstant>;
  /** Those of states and the like: node, and the place that it reads. */
  readonly recurrent: readonly { readonly node: string; readonly from: number }[];
  readonly ops: readonly string[];
}

export interface SlicedConstant {
  readonly view: MatrixView;
  /** Nodes of its products. */
  readonly products: readonly NodeDef[];
  /** What reads it: these products, and nodes that hand columns to them. */
  readonly readers: readonly NodeDef[];
}

/** @returns the program, or why there is none */
export function planOf(loop: Loop, constants: Constants): LoopPlan | Refusal {
  try {
    return new Planner(loop, constants).plan();
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

class Planner {
  readonly #loop: Loop;
  readonly #constants: Constants;
  readonly #starts = new Map<number, number>();
  readonly #body: Body;
  readonly #places: Draft[] = [];
  readonly #steps: Step[] = [];
  readonly #matrices: string[] = [];
  readonly #recurrent: { node: string; from: number }[] = [];
  readonly #masks = new Map<string, Draft>();
  /** What has been written to a place already. */
  readonly #made = new Map<Value, Row>();

  constructor(loop: Loop, constants: Constants) {
    this.#loop = loop;
    this.#constants = constants;
    for (const i of loop.variables.keys()) {
      const start = this.#startOf(i);
      if (start !== undefined) this.#starts.set(i, start);
    }
    this.#body = new Body(loop, constants, this.#starts);
  }

  plan(): LoopPlan {
    const loop = this.#loop;
    const body = this.#body;
    const lists = new Map<number, { readonly value: Value; readonly isLast: boolean }>();
    const next = new Map<Draft, Value>();
    for (const i of loop.variables.keys()) {
      if (isInvariant(loop, i) || this.#starts.has(i)) continue;
      const write = writeOf(loop, i, this.#constants, this.#starts);
      if (write) lists.set(i, { value: body.value(write.value), isLast: write.isLast });
      else next.set(body.state(i), body.value(loop.variables[i]!.next));
    }
    if (!body.products.length) refuse('no product of a state with a constant');
    // Products tell how wide rows are, of the states that they read and of those that they make.
    for (const [state, value] of next) state.width ??= widthOf(value);
    for (const { input, K } of body.products) this.#read(input, K);
    for (const [state, value] of next) this.#fit(state, value);
    for (const value of [...next.values(), ...[...lists.values()].map((list) => list.value)])
      if (!this.#isWide(value, next)) refuse('a result of unknown width');
    for (const product of body.products) {
      const from = this.#placed(product.input, product.K);
      const matrix = this.#matrices.includes(product.constant)
        ? this.#matrices.indexOf(product.constant)
        : this.#matrices.push(product.constant) - 1;
      const place = this.#number(from);
      this.#recurrent.push({ node: product.node.name, from: place });
      this.#steps.push({ kind: 'product', from: place, matrix, to: this.#number(product.to) });
    }
    const told = this.#finish(
      next,
      [...lists.values()].map(({ value }) => value),
    );
    const conditions = this.#limits();
    const places = new Map([...lists].map(([i], at) => [i, { place: told[at]!, isLast: lists.get(i)!.isLast }]));
    const { outputs, results } = this.#ends(places);
    return {
      loop,
      places: this.#places,
      steps: this.#steps,
      matrices: this.#matrices,
      ...conditions,
      outputs,
      results,
      products: body.nodes.map(({ node }) => node),
      sliced: this.#sliced(),
      recurrent: this.#recurrent,
      ops: body.ops,
    };
  }

  /** Where a variable begins that grows by one at each position. */
  #startOf(index: number): number | undefined {
    const loop = this.#loop;
    const { initial, next } = loop.variables[index]!;
    const sum = loop.find(next);
    if (sum.kind !== 'node' || !/^Add(V2)?$/.test(sum.node.op)) return undefined;
    const operands = (sum.node.input ?? []).slice(0, 2).map((input) => loop.find(input));
    if (operands.length < 2) return undefined;
    const own = operands.findIndex((found) => found.kind === 'variable' && found.index === index);
    const step = own < 0 ? undefined : integerOf(constantAt(loop, operands[1 - own]!, this.#constants));
    return step === 1 ? integerOf(this.#constants.get(rootOf(loop.outer, initial) ?? '')) : undefined;
  }

  /** The loop goes on while counters are less than numbers that do not change. */
  #limits(): { readonly limits: string[]; readonly limit: number | undefined } {
    const { scope, input, find } = this.#loop.condition;
    const limits: string[] = [];
    let limit: number | undefined;
    const seen = new Set<NodeDef>();
    const read = (from: string): void => {
      const found = find(from);
      const node = found.kind === 'node' ? found.node : refuse('a condition that does not change');
      const [left = '', right = ''] = node.input ?? [];
      if (node.op === 'LogicalAnd') {
        if (seen.has(node)) return; // or a circle never ends
        seen.add(node);
        read(left);
        read(right);
        return;
      }
      if (node.op !== 'Less' && node.op !== 'Greater') refuse(`${node.op} as the condition of the loop`);
      const [counter, end] = (node.op === 'Less' ? [left, right] : [right, left]).map((own) => find(own));
      const start = counter!.kind === 'variable' ? this.#starts.get(counter!.index) : undefined;
      if (start === undefined) refuse('a condition without a counter');
      const constant = constantAt({ ...this.#loop, inner: scope }, end!, this.#constants);
      if (constant) {
        const value = (integerOf(constant) ?? refuse('a limit that is no number')) - start!;
        limit = Math.min(limit ?? value, value);
        return;
      }
      if (start !== 0) refuse('a counter that does not begin at 0');
      limits.push(outerInput(this.#loop, end!) ?? refuse('a limit that changes'));
    };
    read(input);
    if (!limits.length && limit === undefined) refuse('a condition without a counter');
    return { limits, limit };
  }

  #sliced(): Map<string, SlicedConstant> {
    const { sliced, slices, nodes } = this.#body;
    const { inner } = this.#loop;
    const known = new Set(nodes.map(({ node }) => node));
    for (const node of slices)
      if (inner.outputs.has(node.name) || !(inner.consumers.get(node.name) ?? []).every((reader) => known.has(reader)))
        refuse('columns of a constant that somebody else reads');
    return new Map(
      [...sliced].map(([constant, view]) => {
        const products = nodes.filter((own) => own.constant === constant).map(({ node }) => node);
        return [constant, { view, products, readers: [...products, ...slices] }];
      }),
    );
  }

  #number(place: Draft): number {
    const at = this.#places.indexOf(place);
    return at >= 0 ? at : this.#places.push(place) - 1;
  }

  /** A product reads it as wide as its matrix is. */
  #read(value: Value, K: number): void {
    if (value.kind !== 'joined') {
      unify(value, K);
      return;
    }
    const unknown = value.parts.filter((part) => widthOf(part) === undefined);
    const known = value.parts.reduce((sum, part) => sum + (widthOf(part) ?? 0), 0);
    if (unknown.length > 1) refuse('tensors of unknown width side by side');
    for (const part of unknown) unify(part, K - known);
    if (unknown.length === 0 && known !== K) refuse(`${known} numbers side by side for ${K} inputs`);
  }

  #fit(state: Draft, value: Value): void {
    const width = widthOf(value) ?? state.width ?? refuse('a state of unknown width');
    unify(value, width);
    unify(whole(state), width);
  }

  /** Is something in it as wide as the whole? A sequence, or what stays the same, may be one number for all columns. */
  #isWide(value: Value, next: ReadonlyMap<Draft, Value>, seen = new Set<Value | Draft>()): boolean {
    if (seen.has(value)) return false;
    seen.add(value);
    if (value.kind === 'expression') return value.args.some((arg) => this.#isWide(arg, next, seen));
    if (value.kind !== 'row') return false;
    const { place, width } = value;
    const isRead = this.#body.products.some(({ input }) => input.kind === 'row' && input.place === place);
    if (width !== undefined || isRead || place.kind === 'local' || place.kind === 'vector' || place.weight) return true;
    const own = next.get(place);
    return own !== undefined && this.#isWide(own, next, seen);
  }

  #row(place: Draft, offset = 0): Part {
    return [this.#number(place), offset];
  }

  #maskOf = ({ input, compare }: Mask, width: number): Row => {
    const key = `${input},${width},${compare}`;
    const place: Draft = this.#masks.get(key) ?? { kind: 'mask', width, input, ...(compare && { compare }) };
    this.#masks.set(key, place);
    return whole(place);
  };

  /** One expression for values of one width. */
  #express(width: number, targets: readonly { readonly value: Value; readonly to: Part }[]): void {
    for (const { value } of targets) unify(value, width);
    const resolved = new Map<Value, Value>();
    const known = targets.map(({ value, to }) => ({ value: this.#resolved(value, resolved), to }));
    // Inputs come first: count them, then build.
    const count = new Rows(width, 0, this.#maskOf);
    for (const { value } of known) count.output(value);
    const rows = new Rows(width, count.inputs.length, this.#maskOf);
    const outputs = known.map(({ value }) => rows.output(value));
    const from = rows.inputs.map(({ place, offset }) => this.#row(place, offset));
    this.#steps.push({ kind: 'rows', width, op: { nodes: rows.nodes, outputs }, from, to: known.map(({ to }) => to) });
  }

  /** What has been written is read from where it is. */
  #resolved(value: Value, seen = new Map<Value, Value>()): Value {
    const made = this.#made.get(value) ?? seen.get(value);
    if (made) return made;
    if (value.kind !== 'expression') return value;
    const args = value.args.map((arg) => this.#resolved(arg, seen));
    const own = args.every((arg, i) => arg === value.args[i]) ? value : { ...value, args, slices: new Map() };
    seen.set(value, own);
    return own;
  }

  /** Where a product reads it. */
  #placed(value: Value, K: number): Draft {
    if (value.kind === 'row' && value.width === undefined && value.place.kind !== 'vector') return value.place;
    const made = this.#made.get(value);
    if (made) return made.place;
    const place: Draft = { kind: 'local', width: K };
    if (value.kind === 'joined') {
      let offset = 0;
      for (const part of value.parts) {
        const width = widthOf(part)!;
        this.#express(width, [{ value: part, to: this.#row(place, offset) }]);
        offset += width;
      }
    } else this.#express(K, [{ value, to: this.#row(place) }]);
    this.#made.set(value, whole(place));
    return place;
  }

  /** The next states, and what lists get: each width in one step, so that none is overwritten before it is read. */
  #finish(next: ReadonlyMap<Draft, Value>, lists: readonly Value[]): number[] {
    const targets = new Map<number, { value: Value; to: Part }[]>();
    const add = (width: number, value: Value, place: Draft) =>
      targets.set(width, [...(targets.get(width) ?? []), { value, to: this.#row(place) }]);
    for (const [place, value] of next) add(place.width!, value, place);
    const places = lists.map((value) => {
      const state = [...next].find(([, own]) => own === value)?.[0];
      if (state) return state;
      const local: Draft = { kind: 'local', width: widthOf(value) ?? refuse('a list of unknown width') };
      add(local.width!, value, local);
      return local;
    });
    // Narrow rows may be parts of a wide state, which is written behind them.
    for (const [width, own] of [...targets].sort(([a], [b]) => a - b)) this.#express(width, own);
    return places.map((place) => this.#number(place));
  }

  #ends(lists: ReadonlyMap<number, { readonly place: number; readonly isLast: boolean }>) {
    const loop = this.#loop;
    const outputs: LoopOutput[] = [];
    const results: { node: NodeDef; input: string | number }[] = [];
    const outputOf = (index: number): LoopOutput => {
      const start = this.#starts.get(index);
      if (start !== undefined) return { kind: 'count', start };
      const list = lists.get(index);
      if (list) return { kind: list.isLast ? 'last' : 'sequence', place: list.place };
      return isInvariant(loop, index)
        ? { kind: 'count', start: 0 }
        : { kind: 'state', place: this.#number(this.#body.state(index)) };
    };
    const whileNode = loop.outer.nodes.get(loop.name)!;
    for (const { variable, exit } of loop.ends) {
      const from = exit ?? whileNode;
      const output = exit ? 0 : variable;
      const readers = (loop.outer.consumers.get(from.name) ?? []).flatMap(({ input = [] }) =>
        input.map(parseInput).filter(({ node, index, control }) => node === from.name && (control || index === output)),
      );
      const isRead = readers.some(({ control }) => !control);
      const isOutput = loop.outer.outputs.has(from.name);
      if (exit && !readers.length && !isOutput) continue;
      if (isOutput && !exit) refuse('its results are outputs of the model');
      const list = lists.get(variable);
      if (list && isOutput) refuse('a list is an output of the model');
      if (isInvariant(loop, variable) && (isRead || exit)) {
        if (!exit) refuse('something that does not change is read behind the loop');
        results.push({ node: exit!, input: loop.variables[variable]!.initial });
        continue;
      }
      const at = outputs.push(outputOf(variable)) - 1;
      if (list)
        results.push(...readersOfList(loop.outer, from, output, this.#constants).map((node) => ({ node, input: at })));
      if (exit && (!list || readers.some(({ control }) => control))) results.push({ node: exit, input: at });
    }
    return { outputs, results };
  }
}
