/**
 * Cuts the graph into regions that run as a whole, each either MSD's or ONNX Runtime's, or one piece of control flow that is planned.
 *
 * `level(unit)` counts how often the longest path to it changes sides; the units of one (level, side) are one region. An
 * edge inside a side never goes down a level and an edge across goes up, so every path that leaves a region ends on a
 * higher level and never returns: regions are convex and their quotient graph has no cycle. Control flow is a third side; every
 * edge out of it goes up, and each piece is a region of its own.
 */
import type { Graph, GraphNode } from '../ir/graph.ts';
import type { Control, Unit } from './units.ts';

/** A convex set of units that run together. */
export interface Region {
  /** Position in the order of execution. */
  readonly index: number;
  readonly claimed: boolean;
  /** Of a region that is one piece of control flow. */
  readonly control?: Control | undefined;
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
  const sideOf = (unit: Unit): Side => (unit.control ? CONTROL : isClaimed(unit) ? CLAIMED : FOREIGN);
  const units = liveUnits(graph, all, sideOf);
  const producers = new Map<string, Unit>();
  for (const unit of units) for (const name of unit.outputs) producers.set(name, unit);
  const groups = levelGroups(units, producers, sideOf);
  postpone(units, producers, sideOf, groups);
  const regionOf = new Map<Unit, number>();
  const regions = [...groups.keys()]
    .sort((a, b) => a - b)
    .flatMap((key): [Side, readonly Unit[]][] => {
      const side = sideOfKey(key);
      const group = groups.get(key)!;
      return side === CONTROL ? group.map((unit) => [side, [unit]]) : [[side, group]];
    });
  regions.forEach(([, group], index) => {
    for (const unit of group) regionOf.set(unit, index);
  });
  const consumers = new Map<string, Unit[]>();
  for (const unit of units)
    for (const name of needsOf(unit, sideOf(unit))) {
      const list = consumers.get(name);
      if (list) list.push(unit);
      else consumers.set(name, [unit]);
    }
  const wanted = new Set(graph.outputs.map((output) => output.name));
  const leaves = (name: string, index: number): boolean =>
    wanted.has(name) || (consumers.get(name) ?? []).some((consumer) => regionOf.get(consumer) !== index);
  return regions.map(([side, group], index) => {
    const members = [...group].sort((a, b) => a.index - b.index);
    const inputs = new Set<string>();
    const constants = new Set<string>();
    for (const unit of members)
      for (const name of needsOf(unit, side)) {
        if (graph.constants.has(name)) constants.add(name);
        else {
          const producer = producers.get(name);
          if (!producer || regionOf.get(producer) !== index) inputs.add(name);
        }
      }
    return {
      index,
      claimed: side === CLAIMED,
      control: members[0]!.control,
      units: members,
      nodes: members.flatMap((unit) => unit.nodes),
      inputs: [...inputs],
      outputs: members.flatMap((unit) => unit.outputs.filter((name) => leaves(name, index))),
      constants: [...constants],
    };
  });
}

type Side = 0 | 1 | 2;
const FOREIGN = 0;
const CLAIMED = 1;
const CONTROL = 2;
const SIDES = 3;

/** What a unit needs from outside: a step of MSD, control flow, or all its nodes. */
const needsOf = ({ inputs, uses }: Unit, side: Side): readonly string[] => (side === FOREIGN ? uses : inputs);

/** Those that outputs depend on: a step of MSD may need less than its node. */
function liveUnits(graph: Graph, units: readonly Unit[], sideOf: (unit: Unit) => Side): Unit[] {
  const needed = new Set(graph.outputs.map((output) => output.name));
  const live: Unit[] = [];
  for (const unit of units.toReversed()) {
    if (!unit.outputs.some((name) => needed.has(name))) continue;
    for (const name of needsOf(unit, sideOf(unit))) needed.add(name);
    live.push(unit);
  }
  return live.reverse();
}

/** Units by level and side. */
type Groups = Map<number, Unit[]>;

const keyOf = (level: number, side: Side): number => SIDES * level + side;
const levelOf = (key: number): number => Math.floor(key / SIDES);
const sideOfKey = (key: number): Side => (key % SIDES) as Side;

function levelGroups(
  units: readonly Unit[],
  producers: ReadonlyMap<string, Unit>,
  sideOf: (unit: Unit) => Side,
): Groups {
  const levels = new Map<Unit, number>();
  const groups: Groups = new Map();
  for (const unit of units) {
    const side = sideOf(unit);
    let level = 0;
    for (const name of needsOf(unit, side)) {
      const producer = producers.get(name);
      if (producer) level = Math.max(level, levels.get(producer)! + step(sideOf(producer), side));
    }
    levels.set(unit, level);
    const key = keyOf(level, side);
    const group = groups.get(key);
    if (group) group.push(unit);
    else groups.set(key, [unit]);
  }
  return groups;
}

/** How far an edge goes up at least. */
const step = (from: Side, to: Side): number => (from === to && from !== CONTROL ? 0 : 1);

/**
 * Saves foreign runs: a foreign group that nobody needs before a later one runs (masks for all layers' attention) moves into
 * that one as a whole.
 */
function postpone(
  units: readonly Unit[],
  producers: ReadonlyMap<string, Unit>,
  sideOf: (unit: Unit) => Side,
  groups: Groups,
): void {
  const levels = new Map<Unit, number>();
  for (const [key, group] of groups) for (const unit of group) levels.set(unit, levelOf(key));
  const isForeign = (key: number): boolean => sideOfKey(key) === FOREIGN;
  for (const key of [...groups.keys()].filter(isForeign).sort((a, b) => a - b)) {
    const group = new Set(groups.get(key)!);
    // The latest level at which every consumer outside still finds its operands.
    let latest = Number.POSITIVE_INFINITY;
    for (const unit of units) {
      if (group.has(unit)) continue;
      const side = sideOf(unit);
      const limit = levels.get(unit)! - step(FOREIGN, side);
      if (limit < latest && needsOf(unit, side).some((name) => group.has(producers.get(name)!))) latest = limit;
    }
    const later = [...groups.keys()].filter((each) => isForeign(each) && each > key && levelOf(each) <= latest);
    if (later.length === 0) continue;
    const target = Math.min(...later);
    groups.get(target)!.push(...group);
    for (const unit of group) levels.set(unit, levelOf(target));
    groups.delete(key);
  }
}
