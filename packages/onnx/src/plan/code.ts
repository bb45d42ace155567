/**
 * What a claimed region does, before any size is known, and which sizes and elements from outside its plan depends on: a plan is
 * made once for each combination of these, everything else may change from run to run.
 */
import type { Graph } from '../ir/graph.ts';
import { OPERATORS } from '../ops/index.ts';
import { operatorName } from '../ops/operator.ts';
import type { Match } from '../passes/match.ts';

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
}

/**
 * @param matches in topological order.
 * @param outputs what is needed of their results.
 */
export function regionCode(graph: Graph, matches: readonly Match[], outputs: readonly string[]): RegionCode {
  const made = new Set(matches.flatMap((match) => match.outputs));
  const sized = new Set<string>();
  const valued = new Set<string>();
  for (const match of matches.toReversed()) {
    if (match.place === 'host') needsOfHost(match, sized, valued);
    else needsOfDevice(match, sized, valued);
  }
  const inputs = new Set<string>();
  for (const match of matches)
    for (const name of match.inputs) if (name !== '' && !made.has(name) && !graph.constants.has(name)) inputs.add(name);
  return {
    matches,
    inputs: [...inputs],
    outputs,
    sized: [...inputs].filter((name) => sized.has(name) || valued.has(name)),
    valued: [...inputs].filter((name) => valued.has(name)),
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
function needsOfHost({ nodes, outputs }: Match, sized: Set<string>, valued: Set<string>): void {
  const [node] = nodes;
  const name = operatorName(node!);
  const isValued = outputs.some((output) => valued.has(output));
  const isSized = outputs.some((output) => sized.has(output));
  const sizedBy = OPERATORS.get(name)?.sizedBy ?? [];
  for (const [i, input] of node!.inputs.entries()) {
    if (name === 'Shape' || name === 'Size') {
      if (isValued || isSized) sized.add(input);
    } else if (isValued || (isSized && sizedBy.includes(i))) valued.add(input);
    else if (isSized) sized.add(input);
  }
}
