/**
 * The interface between matching and operators: what an operator can ask about a node, and the match that it returns.
 */
import { badScale } from '@msd/core';
import { isCarried } from '../carried.ts';
import { BOOL, dataTypeName, INT32, INT64, isFloat } from '../data-types.ts';
import { countOf } from '../dims.ts';
import type { Graph, GraphNode } from '../ir/graph.ts';
import type { TypedGraph } from '../ir/infer.ts';
import { HOST_TYPES, type Info, isGrowing, type Size, scalarOf } from '../ir/info.ts';
import { OPERATORS } from '../ops/index.ts';
import type { Lowering, Resource } from '../ops/lowering.ts';
import { type NodeView, type Operator, operatorName } from '../ops/operator.ts';
import { elementCount, floatReader, type TensorRef } from '../read/tensor.ts';
import type { FloatFormat } from '../weights/floats.ts';
import type { ChooseFormat } from '../weights/quantize-option.ts';

/** Nodes that MSD runs as one step. */
export interface Match {
  /** What the report calls it. */
  readonly op: string;
  /** On the device, or in plain JavaScript. */
  readonly place: 'device' | 'host';
  /** In topological order; only results of the last one are needed outside. */
  readonly nodes: readonly GraphNode[];
  /** '' = an operand that is not there. */
  readonly inputs: readonly string[];
  /** '' = a result that is not needed. */
  readonly outputs: readonly string[];
  /** Operands whose elements, not only their sizes, have to be known when the step is planned. */
  readonly shapedBy?: readonly string[];
  /** Operands that JavaScript looks at in every run: a plan depends neither on their elements nor on their sizes. */
  readonly late?: readonly string[];
  /** Operands and results that lie in a cache of keys and values: a plan does not depend on how many positions they have. */
  readonly caches?: readonly string[];
  readonly resources?: readonly Resource[];
  /** Multiplications per row, if it is a product with weights of the file. */
  readonly product?: {
    readonly N: number;
    readonly K: number;
    readonly quantized: boolean;
    /**
     * What ONNX Runtime multiplies with in each call, integers whose sums become floats or codes, or floats. Default: quantized weights that
     * it turns into floats first.
     */
    readonly inOrt?: 'integers' | 'codes' | 'floats' | undefined;
    /** Products that it takes here: what one matrix leaves of the weights, a second one has. Default 1. */
    readonly products?: number | undefined;
    /** Its rows are windows that are put together first. */
    readonly gathers?: boolean | undefined;
  };
  /** Does ONNX Runtime make one step of it and its neighbours, so that it costs nothing there? */
  readonly isFreeInOrt?: boolean;
  /** Why it is no part of a chain that one step could replace. */
  readonly note?: string;
  /** What attention costs goes with them: its scores [batch, heads, rows, keys], each of `width` multiplications. */
  readonly scores?: {
    readonly dims: readonly Size[];
    readonly width: number;
    /** Heads of keys and values, if they are fewer. */
    readonly kvHeads?: number | undefined;
  };
  /** Absent in plain JavaScript: the node's own operator computes the elements. */
  readonly lower?: (to: Lowering) => void;
}

/** Elements that plain JavaScript is quick with. More is left to ONNX Runtime. */
export const MAX_HOST_ELEMENTS = 4096;
/** Scales of the file are looked at in parts. */
const SCALES_AT_ONCE = 2 ** 16;
/** The assumed value of a size that only a run knows. */
const TYPICAL_SIZE = 128;

/** What a user's options mean for decisions. */
export interface MatchOptions {
  /** Reads all scales of the file and refuses those that kernels do not take. Whoever packs the matrices finds out, too. */
  readonly checksScales?: boolean;
  /** What float weights are to become, by names of a node and of them. */
  readonly chooseFormat?: ChooseFormat;
  /** Products of activations that are quantized in a run stay ONNX Runtime's, which rounds them to 8 bits. */
  readonly exact?: boolean;
  /** Activations are not rounded where a QuantizeLinear is undone right behind it. */
  readonly relaxes?: boolean;
}

/** The graph around a node, for matching. */
export class Matcher {
  readonly graph: Graph;
  readonly #typed: TypedGraph;
  readonly #decisions: ReadonlyMap<GraphNode, Match | string>;
  readonly #outputs: ReadonlySet<string>;
  readonly #options: MatchOptions;

  constructor(typed: TypedGraph, decisions: ReadonlyMap<GraphNode, Match | string>, options: MatchOptions) {
    this.graph = typed.graph;
    this.#options = options;
    this.#typed = typed;
    this.#decisions = decisions;
    this.#outputs = new Set(typed.graph.outputs.map(({ name }) => name));
  }

  view(node: GraphNode): NodeView {
    return this.#typed.view(node);
  }

  /** Why activations that are quantized in a run are to stay 8 bits wide; `undefined` if they need not. */
  get exactly(): string | undefined {
    return this.#options.exact
      ? "the option 'exact' asks for 8-bit activations, as ONNX Runtime rounds them"
      : undefined;
  }

  /** Activations are not rounded where a QuantizeLinear is undone right behind it. */
  get relaxes(): boolean {
    return this.#options.relaxes === true;
  }

  info(name: string): Info | undefined {
    return this.#typed.infos.get(name);
  }

  /** A tensor of the file. */
  tensor(name: string): TensorRef | undefined {
    const constant = this.graph.constants.get(name);
    return constant?.kind === 'tensor' ? constant.tensor : undefined;
  }

  isConstant(name: string): boolean {
    return this.graph.constants.has(name);
  }

  /** The value of a constant of one element. */
  scalar(name: string): number | undefined {
    return this.isConstant(name) ? scalarOf(this.info(name)) : undefined;
  }

  /** False where constants of more dimensions than x have given them to what was made of it. */
  keepsRank(x: string, y: string): boolean {
    const [before, after] = [this.info(x)?.dims, this.info(y)?.dims];
    return !before || !after || before.length === after.length;
  }

  producer(name: string): GraphNode | undefined {
    return this.graph.producers.get(name);
  }

  /** The node that alone needs a value. */
  soleConsumer(name: string): GraphNode | undefined {
    const consumers = this.graph.consumers.get(name);
    return consumers?.length === 1 && !this.#outputs.has(name) ? consumers[0] : undefined;
  }

  /** True if nobody outside needs what nodes before the last one make. */
  isClosed(nodes: readonly GraphNode[]): boolean {
    const inside = new Set(nodes);
    return nodes
      .slice(0, -1)
      .every((node) =>
        node.outputs.every(
          (name) =>
            !this.#outputs.has(name) && (this.graph.consumers.get(name) ?? []).every((each) => inside.has(each)),
        ),
      );
  }

  /** Where a value comes into being, as far as matching has come. */
  placeOf(name: string): 'device' | 'host' | 'elsewhere' {
    const node = this.producer(name);
    const decision = node && this.#decisions.get(node);
    return typeof decision === 'object' ? decision.place : 'elsewhere';
  }

  /** Belongs the node to a match already? */
  isTaken(node: GraphNode): boolean {
    return typeof this.#decisions.get(node) === 'object';
  }

  /** A result that lies in a cache: no step of the device reads it there but attention. */
  isKept(name: string): boolean {
    const node = this.producer(name);
    const decision = node && this.#decisions.get(node);
    return typeof decision === 'object' && decision.caches?.includes(name) === true;
  }

  isInteger(name: string): boolean {
    const elemType = this.info(name)?.elemType;
    return elemType === INT64 || elemType === INT32;
  }

  /** Why a value cannot be a float operand, float32 or float16; `undefined` if it can. */
  notFloat(what: string, name: string): string | undefined {
    const elemType = this.info(name)?.elemType ?? 0;
    if (this.isKept(name)) return `${what} lies in a cache`;
    return isFloat(elemType) ? undefined : `${what} is ${elemType === 0 ? 'of unknown type' : dataTypeName(elemType)}`;
  }

  /** Why a value cannot be moved about on the device; `undefined` if it can. */
  notMovable(name: string): string | undefined {
    const elemType = this.info(name)?.elemType ?? 0;
    return elemType === BOOL || (isCarried(elemType) && !this.isKept(name)) ? undefined : this.notFloat('x', name);
  }

  /** The constant as a resource on the device. */
  values(name: string, transposed = false): Resource {
    return {
      kind: 'values',
      key: transposed ? `${name}ᵀ` : name,
      info: this.info(name)!,
      tensor: this.tensor(name),
      transposed,
    };
  }

  /** Resources of all operands that are constants. */
  constants(names: readonly string[]): Resource[] {
    return [...new Set(names)].filter((name) => this.isConstant(name)).map((name) => this.values(name));
  }

  /** What float weights of a node are to become in this session; `undefined`: what they are. */
  formatFor(node: GraphNode, weights: string): FloatFormat | undefined {
    return this.#options.chooseFormat?.([node.name, weights]);
  }

  /** Why @msd/core would refuse one of them; `undefined` if it takes all. */
  refusedScale(scales: TensorRef, what = 'a scale'): string | undefined {
    if (this.#options.checksScales === false) return undefined;
    const read = floatReader(scales);
    const count = elementCount(scales);
    for (let first = 0; first < count; first += SCALES_AT_ONCE) {
      const values = read(first, Math.min(SCALES_AT_ONCE, count - first));
      const at = badScale(values);
      if (at >= 0) return `${what} is ${values[at]}, not below 2^90`;
    }
    return undefined;
  }

  /** Does it have more elements with every token? */
  grows(name: string): boolean {
    const info = this.info(name);
    return this.#typed.hasPast && HOST_TYPES.has(info?.elemType ?? 0) && info?.dims?.some(isGrowing) === true;
  }

  isHostSized(name: string): boolean {
    const info = this.info(name);
    if (!info?.dims || !HOST_TYPES.has(info.elemType)) return false;
    if (this.placeOf(name) === 'host') return true;
    return typicalCount(info.dims) <= MAX_HOST_ELEMENTS;
  }

  /** Can plain JavaScript have it at hand? What the device makes stays there. */
  isHostOperand(name: string): boolean {
    if (!this.isHostSized(name) || this.placeOf(name) === 'device') return false;
    return !isFloat(this.info(name)!.elemType) || this.placeOf(name) === 'host' || this.info(name)!.data !== undefined;
  }

  /**
   * Is a node shape arithmetic, or whatever else is small and follows from integers? JavaScript computes that.
   *
   * @param isOperand can JavaScript have a value at hand?
   * @param isMade does JavaScript compute it itself?
   * @param grows may the results be large?
   */
  isShapeArithmetic(
    node: GraphNode,
    isOperand: (name: string) => boolean,
    isMade: (name: string) => boolean,
    grows = false,
  ): boolean {
    const { inputs } = node;
    const name = operatorName(node);
    const operator = OPERATORS.get(name);
    const ofShape = name === 'Shape' || name === 'Size';
    if (!operator || !(operator.host || ofShape) || unknownAttribute(operator, node) !== undefined) return false;
    const outputs = node.outputs.filter((output) => output !== '');
    if (!grows && !outputs.every((output) => this.isHostSized(output))) return false;
    if (!ofShape && !inputs.every((input) => input === '' || isOperand(input))) return false;
    // Floats only where all of them come out of shape arithmetic: others are the device's.
    const isOfFloats = outputs.some((output) => isFloat(this.info(output)?.elemType ?? 0));
    return !isOfFloats || inputs.some((input) => isMade(input) || this.isInteger(input));
  }
}

/** A number of elements to reckon with, whatever sizes a run has. */
export const typicalCount = (dims: readonly Size[]): number => countOf(dims.map(typical));

function typical(size: Size): number {
  return typeof size === 'number' ? size : /batch/i.test(size) ? 1 : TYPICAL_SIZE;
}

export function unknownAttribute({ attributes = [] }: Operator, node: GraphNode): string | undefined {
  return [...node.attributes.keys()].find((name) => !attributes.includes(name));
}
