/**
 * Units that depend on nothing but constants of the file. ONNX Runtime computes such nodes while it loads a region, so one that only
 * nodes of ONNX Runtime need belongs to them: made here, its result would be handed over in every run.
 */
import type { Graph } from '../ir/graph.ts';
import type { Unit } from './units.ts';

/**
 * @param isTaken would MSD take the unit?
 * @returns whether the unit is only needed by what is not taken, and made of constants alone
 */
export function fixedForOthers(
  graph: Graph,
  units: readonly Unit[],
  isTaken: (unit: Unit) => boolean,
): (unit: Unit) => boolean {
  const fixed = new Set<string>(graph.constants.keys());
  const candidates = new Set<Unit>();
  const consumers = new Map<string, Unit[]>();
  for (const unit of units) {
    for (const name of new Set([...unit.uses, ...unit.inputs])) {
      const list = consumers.get(name);
      if (list) list.push(unit);
      else consumers.set(name, [unit]);
    }
    // Random numbers are made of nothing, too, and are ONNX Runtime's anyway.
    if (!unit.match || unit.uses.length === 0 || !unit.uses.every((name) => fixed.has(name))) continue;
    candidates.add(unit);
    for (const name of unit.outputs) fixed.add(name);
  }
  if (candidates.size === 0) return () => false;
  const wanted = new Set(graph.outputs.map(({ name }) => name));
  const isForOthers = (unit: Unit): boolean =>
    candidates.has(unit) &&
    !unit.outputs.some((name) => wanted.has(name)) &&
    unit.outputs.every((name) => (consumers.get(name) ?? []).every((each) => !isTaken(each) || isForOthers(each)));
  return isForOthers;
}
