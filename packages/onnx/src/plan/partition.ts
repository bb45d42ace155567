/**
 * Cuts the graph into regions that run as a whole, each either MSD's or ONNX Runtime's.
 *
 * `level(unit)` counts how often the longest path to it changes sides; the units of one (level, side) are one region. An
 * edge inside a side never goes down a level and an edge across goes up, so every path that leaves a region ends on a
 * higher level and never returns: regions are convex and their quotient graph has no cycle.
 */
import type { Graph, GraphNode } from '../ir/graph.ts';
import type { Unit } from './units.ts';

/** A convex set of units that run together. */
export interface Region {
  /** Position in the order of execution. */
  readonly index: number;
  readonly claimed: boolean;
  /** In topological order. */
  readonly units: readonly Unit[];
  /** Theirs, in topological order. */
  readonly nodes: readonly GraphNode[];
  /** Values from outside, without constants. */
  readonly inputs: readonly string[];
  /** Values that other regions or the caller need. */
  readonly outputs: readonly string[];
  /** Constants that its units need. */
  readonly constants: readonly string[];
}

/**
 * Partitions units.
 *
 * @param all units in topological order.
 * @param isClaimed which side a unit is on.
 * @returns regions in an order in which they can run.
 */
export function partition(graph: Graph, all: readonly Unit[], isClaimed: (unit: Unit) => boolean): Region[] {
  const units = liveUnits(graph, all, isClaimed);
  const producers = new Map<string, Unit>();
  for (const unit of units) for (const name of unit.outputs) producers.set(name, unit);
  const groups = levelGroups(units, producers, isClaimed);
  postpone(units, producers, isClaimed, groups);
  const regionOf = new Map<Unit, number>();
  const keys = [...groups.keys()].sort((a, b) => a - b);
  keys.forEach((key, index) => {
    for (const unit of groups.get(key)!) regionOf.set(unit, index);
  });
  const consumers = new Map<string, Unit[]>();
  for (const unit of units)
    for (const name of needsOf(unit, isClaimed(unit))) {
      const list = consumers.get(name);
      if (list) list.push(unit);
      else consumers.set(name, [unit]);
    }
  const wanted = new Set(graph.outputs.map((output) => output.name));
  const leaves = (name: string, index: number): boolean =>
    wanted.has(name) || (consumers.get(name) ?? []).some((consumer) => regionOf.get(consumer) !== index);
  return keys.map((key, index) => {
    const members = [...groups.get(key)!].sort((a, b) => a.index - b.index);
    const inputs = new Set<string>();
    const constants = new Set<string>();
    const claimed = isClaimedKey(key);
    for (const unit of members)
      for (const name of needsOf(unit, claimed)) {
        if (graph.constants.has(name)) constants.add(name);
        else {
          const producer = producers.get(name);
          if (!producer || regionOf.get(producer) !== index) inputs.add(name);
        }
      }
    return {
      index,
      claimed,
      units: members,
      nodes: members.flatMap((unit) => unit.nodes),
      inputs: [...inputs],
      outputs: members.flatMap((unit) => unit.outputs.filter((name) => leaves(name, index))),
      constants: [...constants],
    };
  });
}

/** What a unit needs from outside: a step of MSD, or all its nodes. */
const needsOf = ({ inputs, uses }: Unit, claimed: boolean): readonly string[] => (claimed ? inputs : uses);

/** Those that outputs depend on: a step of MSD may need less than its node. */
function liveUnits(graph: Graph, units: readonly Unit[], isClaimed: (unit: Unit) => boolean): Unit[] {
  const needed = new Set(graph.outputs.map((output) => output.name));
  const live: Unit[] = [];
  for (const unit of units.toReversed()) {
    if (!unit.outputs.some((name) => needed.has(name))) continue;
    for (const name of needsOf(unit, isClaimed(unit))) needed.add(name);
    live.push(unit);
  }
  return live.reverse();
}

/** Units by (level, side): twice the level, one more for claimed ones. */
type Groups = Map<number, Unit[]>;

const keyOf = (level: number, claimed: boolean): number => 2 * level + (claimed ? 1 : 0);
const levelOf = (key: number): number => key >> 1;
const isClaimedKey = (key: number): boolean => key % 2 === 1;

function levelGroups(
  units: readonly Unit[],
  producers: ReadonlyMap<string, Unit>,
  isClaimed: (unit: Unit) => boolean,
): Groups {
  const levels = new Map<Unit, number>();
  const groups: Groups = new Map();
  for (const unit of units) {
    const claimed = isClaimed(unit);
    let level = 0;
    for (const name of needsOf(unit, claimed)) {
      const producer = producers.get(name);
      if (producer) level = Math.max(level, levels.get(producer)! + (isClaimed(producer) === claimed ? 0 : 1));
    }
    levels.set(unit, level);
    const key = keyOf(level, claimed);
    const group = groups.get(key);
    if (group) group.push(unit);
    else groups.set(key, [unit]);
  }
  return groups;
}

/**
 * Saves foreign runs: a foreign group that nobody needs before a later one runs (masks for all layers' attention) moves into
 * that one as a whole.
 */
function postpone(
  units: readonly Unit[],
  producers: ReadonlyMap<string, Unit>,
  isClaimed: (unit: Unit) => boolean,
  groups: Groups,
): void {
  const levels = new Map<Unit, number>();
  for (const [key, group] of groups) for (const unit of group) levels.set(unit, levelOf(key));
  for (const key of [...groups.keys()].filter((each) => !isClaimedKey(each)).sort((a, b) => a - b)) {
    const group = new Set(groups.get(key)!);
    // The latest level at which every consumer outside still finds its operands.
    let latest = Number.POSITIVE_INFINITY;
    for (const unit of units) {
      if (group.has(unit)) continue;
      const limit = levels.get(unit)! - (isClaimed(unit) ? 1 : 0);
      if (limit < latest && needsOf(unit, isClaimed(unit)).some((name) => group.has(producers.get(name)!)))
        latest = limit;
    }
    const later = [...groups.keys()].filter((each) => !isClaimedKey(each) && each > key && levelOf(each) <= latest);
    if (later.length === 0) continue;
    const target = Math.min(...later);
    groups.get(target)!.push(...group);
    for (const unit of group) levels.set(unit, levelOf(target));
    groups.delete(key);
  }
}
