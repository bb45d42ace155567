/**
 * Converters to float16 that keep the types of inputs and outputs put a Cast behind each input and in front of each output: keys and
 * values of a cache, too. Here the Casts go to the side of what a run adds, so that `past` and `present` meet in one Concat:
 *
 *   past → Cast → p,  Concat(p, new) → k → Cast → present     becomes     new → Cast → n,  Concat(past, n) → present → Cast → k
 *
 * The same for a movement that makes `present` (an encoder's keys, in the first run). An input that is handed out is that input. Shapes are
 * those of what was cast.
 */
import { FLOAT16, isFloat } from '../data-types.ts';
import type { Graph, GraphNode } from '../ir/graph.ts';
import type { TypedGraph } from '../ir/infer.ts';
import { operatorName } from '../ops/operator.ts';
import type { ModelRecord } from '../read/model.ts';
import type { NodeRecord } from '../read/node.ts';
import type { ByteRange } from '../read/source.ts';
import { rewired, withChanged } from './rewired.ts';

/** How many operands become the result, the others say how. */
const MOVED: ReadonlyMap<string, number> = /* @__PURE__ */ new Map([
  ['Concat', 2],
  ['Reshape', 1],
  ['Transpose', 1],
]);

/** @returns the record and graph with Casts moved; the same if there are none to move */
export function castsInside(
  record: ModelRecord,
  typed: TypedGraph,
): { readonly record: ModelRecord; readonly graph: Graph } {
  const { graph } = typed;
  const changed = new Map<ByteRange, readonly NodeRecord[]>();
  /** What values are shown as. */
  const shown = new Map<string, string>();
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const inputs = new Set(graph.inputs.map(({ name }) => name));
  const typeOf = (name: string): number => typed.infos.get(name)?.elemType ?? 0;
  const castOf = (name: string): GraphNode | undefined => {
    const node = graph.producers.get(name);
    const isCast = node && operatorName(node) === 'Cast' && isFloat(typeOf(name)) && isFloat(typeOf(node.inputs[0]!));
    return isCast ? node : undefined;
  };
  const usersOf = (name: string): readonly GraphNode[] => graph.consumers.get(name) ?? [];
  const back = graph.nodes.find(({ outputs: [y = ''] }) => castOf(y) && typeOf(y) === FLOAT16);
  for (const name of outputs) {
    const cast = castOf(name);
    if (!cast) continue;
    const passed: GraphNode[] = [cast];
    let [value = ''] = cast.inputs;
    let maker = graph.producers.get(value);
    for (; maker && operatorName(maker) === 'Identity'; maker = graph.producers.get(value)) {
      if (usersOf(value).length > 1 || outputs.has(value)) break;
      passed.push(maker);
      value = maker.inputs[0]!;
    }
    const given = castOf(value)?.inputs[0] ?? '';
    if (inputs.has(given) && typeOf(given) === typeOf(name)) {
      const same = {
        ...rewired(cast, [given], [name]),
        opType: 'Identity',
        attributes: new Map(),
        attributeRanges: [],
      };
      for (const { range } of passed) changed.set(range, range === cast.range ? [same] : []);
      continue;
    }
    const count = maker && MOVED.get(operatorName(maker));
    const others = usersOf(value).filter((node) => !passed.includes(node));
    const isPlain = others.every(({ operatorsInside }) => operatorsInside.length === 0);
    if (!maker || !count || !back || others.length === 0 || outputs.has(value) || !isPlain) continue;
    if (changed.has(maker.range) || typeOf(value) !== FLOAT16 || typeOf(name) === FLOAT16) continue;
    const casts = new Map<string, NodeRecord>();
    const operands = maker.inputs.map((input, i) => {
      const before = castOf(input)?.inputs[0] ?? '';
      if (i >= count || typeOf(before) === typeOf(name)) return i >= count ? input : before;
      const made = `${input} for ${name}`;
      casts.set(made, { ...rewired(cast, [input], [made]), name: made });
      return made;
    });
    const after = { ...rewired(back, [name], [value]), name: `${value} of ${name}` };
    changed.set(maker.range, [...casts.values(), rewired(maker, operands, [name]), after]);
    for (const { range } of passed) changed.set(range, []);
    shown.set(value, name);
  }
  if (changed.size === 0) return { record, graph };
  for (const node of graph.nodes) {
    const [x = ''] = operatorName(node) === 'Shape' ? node.inputs : [];
    const same = shown.get(x) ?? castOf(x)?.inputs[0];
    if (same !== undefined) changed.set(node.range, [rewired(node, [same], node.outputs)]);
  }
  return withChanged(record, graph, changed);
}
