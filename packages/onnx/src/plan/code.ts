/**
 * A claimed region before any size is known, and the sizes and elements from outside on which its plan depends. A plan
 * is made once for each combination of these; everything else may change from run to run.
 */
import type { TypedGraph } from '../ir/infer.ts';
import { isGrowing } from '../ir/info.ts';
import { OPERATORS } from '../ops/index.ts';
import { operatorName } from '../ops/operator.ts';
import type { Match } from '../passes/matcher.ts';

/** A claimed region, or the part of it that some outputs need. */
export interface RegionCode {
  readonly matches: readonly Match[];
  /** Values from outside, without constants. */
  readonly inputs: readonly string[];
  /** Values that others need. */
  readonly outputs: readonly string[];
  /** Inputs whose sizes a plan depends on. */
  readonly sized: readonly string[];
  /** Inputs whose elements a plan depends on. */
  readonly valued: readonly string[];
  /** Where a run says what a symbol of a size is: inputs of the graph, by symbol. They are among `sized`. */
  readonly symbols: ReadonlyMap<string, SizeOf>;
}

/** A size of a value. */
export interface SizeOf {
  readonly name: string;
  readonly axis: number;
}

/**
 * @param matches in topological order.
 * @param outputs what is needed of their results.
 */
export function regionCode(typed: TypedGraph, matches: readonly Match[], outputs: readonly string[]): RegionCode {
  const { graph } = typed;
  const made = new Set(matches.flatMap((match) => match.outputs));
  const sized = new Set<string>();
  const valued = new Set<string>();
  const symbols = new Map<string, SizeOf>();
  for (const match of matches.toReversed()) {
    if (match.place === 'host') needsOfHost(typed, match, sized, valued, symbols);
    else needsOfDevice(match, sized, valued);
  }
  const inputs = new Set<string>();
  for (const { name } of symbols.values()) inputs.add(name);
  for (const match of matches)
    for (const name of match.inputs) if (name !== '' && !made.has(name) && !graph.constants.has(name)) inputs.add(name);
  return {
    matches,
    inputs: [...inputs],
    outputs,
    sized: [...inputs].filter((name) => sized.has(name) || valued.has(name)),
    valued: [...inputs].filter((name) => valued.has(name)),
    symbols,
  };
}

/** What JavaScript looks at in a run matters to no plan, nor does how long a cache is, unless somebody needs sizes of `present`. */
function needsOfDevice(
  { inputs, outputs, shapedBy, late, caches }: Match,
  sized: Set<string>,
  valued: Set<string>,
): void {
  const isMeasured = outputs.some((name) => caches?.includes(name) && (sized.has(name) || valued.has(name)));
  for (const name of inputs) {
    if (late?.includes(name) || (caches?.includes(name) && !isMeasured)) continue;
    (shapedBy?.includes(name) ? valued : sized).add(name);
  }
}

/** Shape arithmetic needs for planning what its results are needed for. */
function needsOfHost(
  typed: TypedGraph,
  { nodes, outputs }: Match,
  sized: Set<string>,
  valued: Set<string>,
  symbols: Map<string, SizeOf>,
): void {
  const [node] = nodes;
  const name = operatorName(node!);
  const isValued = outputs.some((output) => valued.has(output));
  const isSized = outputs.some((output) => sized.has(output));
  const sizedBy = OPERATORS.get(name)?.sizedBy ?? [];
  const places = isSized && !isValued && sizedBy.length > 0 ? placesOf(typed, outputs) : undefined;
  if (places) {
    for (const [symbol, place] of places) {
      symbols.set(symbol, place);
      sized.add(place.name);
    }
    return;
  }
  for (const [i, input] of node!.inputs.entries()) {
    if (name === 'Shape' || name === 'Size') {
      if (isValued || isSized) sized.add(input);
    } else if (isValued || (isSized && sizedBy.includes(i))) valued.add(input);
    else if (isSized) sized.add(input);
  }
}

/**
 * Where inputs of the graph say all sizes of values: positions from the length of the past on are as many as the run has tokens,
 * whatever that length is. `undefined` if they do not.
 */
function placesOf({ graph, infos }: TypedGraph, names: readonly string[]): Map<string, SizeOf> | undefined {
  const places = new Map<string, SizeOf>();
  for (const name of names) {
    if (name === '') continue;
    const dims = infos.get(name)?.dims;
    if (!dims) return undefined;
    for (const dim of dims) {
      if (typeof dim === 'number') continue;
      const input = graph.inputs.find((each) => infos.get(each.name)?.dims?.includes(dim));
      if (!input || isGrowing(dim)) return undefined;
      places.set(dim, { name: input.name, axis: infos.get(input.name)!.dims!.indexOf(dim) });
    }
  }
  return places;
}
