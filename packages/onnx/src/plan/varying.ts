/**
 * What changes from pass to pass of a loop. A plan is made for sizes, and for those elements that sizes follow from: a step that
 * depends on such an element (a Slice up to the number of the pass) would be planned for every pass anew.
 */
import type { TypedGraph } from '../ir/infer.ts';
import { isGrowing, type Size } from '../ir/info.ts';
import { OPERATORS } from '../ops/index.ts';
import { operatorName } from '../ops/operator.ts';
import type { Unit } from './units.ts';

/**
 * @param inputs of the body whose elements change
 * @returns whether a unit would be planned anew for every pass
 */
export function varyingUnits({ graph, infos }: TypedGraph, inputs: readonly string[]): (unit: Unit) => boolean {
  const elements = new Set(inputs);
  const sizes = new Set<string>();
  const given = new Set(graph.inputs.flatMap(({ name }) => infos.get(name)?.dims ?? []));
  const isFixed = (size: Size): boolean => typeof size === 'number' || (given.has(size) && !isGrowing(size));
  for (const node of graph.nodes) {
    const name = operatorName(node);
    const known = OPERATORS.get(name);
    const operator = known?.hasBodies ? undefined : known;
    const has = (set: ReadonlySet<string>): boolean => [...node.inputs, ...node.captures].some((each) => set.has(each));
    const isShape = name === 'Shape' || name === 'Size';
    const isSized = operator ? operator.sizedBy?.some((i) => elements.has(node.inputs[i] ?? '')) : has(elements);
    const [changes, resizes] = isShape ? [has(sizes), false] : [has(elements), has(sizes) || isSized === true];
    for (const output of node.outputs) {
      if (changes) elements.add(output);
      const isOpen = changes && infos.get(output)?.dims === undefined;
      if ((resizes || isOpen) && !infos.get(output)?.dims?.every(isFixed)) sizes.add(output);
    }
  }
  return ({ match }) => {
    if (match?.place !== 'device') return false;
    const { shapedBy = [], late = [], caches = [] } = match;
    if (shapedBy.some((name) => elements.has(name))) return true;
    return match.inputs.some((name) => sizes.has(name) && !late.includes(name) && !caches.includes(name));
  };
}
