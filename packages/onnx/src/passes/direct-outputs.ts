/**
 * `present` that an Identity hands out is `present`: keys and values stay in their cache then, instead of being read for a copy.
 *
 *   Concat(past, new) -> k,  Identity(k) -> present     becomes     Concat(past, new) -> present, which everybody reads
 */
import { buildGraph, type Graph } from '../ir/graph.ts';
import { operatorName } from '../ops/operator.ts';
import type { ModelRecord } from '../read/model.ts';
import { rewired } from './rewired.ts';

/** What keys and values come from. */
const MAKERS = /^Concat$|Attention$/;

/** @returns the record and graph without such Identities; the same if there are none */
export function directOutputs(
  record: ModelRecord,
  graph: Graph,
): { readonly record: ModelRecord; readonly graph: Graph } {
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const captured = new Set(graph.nodes.flatMap(({ captures }) => [...captures]));
  /** What values are called from now on. */
  const names = new Map<string, string>();
  const gone = new Set<unknown>();
  for (const name of outputs) {
    const node = graph.producers.get(name);
    const [value = ''] = node?.inputs ?? [];
    const maker = graph.producers.get(value);
    if (!node || !maker || operatorName(node) !== 'Identity' || !MAKERS.test(maker.opType)) continue;
    if ([value, name].some((each) => captured.has(each)) || outputs.has(value) || names.has(value)) continue;
    const users = [value, name].flatMap((each) => graph.consumers.get(each) ?? []);
    if (users.some(({ operatorsInside }) => operatorsInside.length > 0)) continue;
    names.set(value, name);
    gone.add(node.range);
  }
  if (gone.size === 0) return { record, graph };
  const nameOf = (name: string): string => names.get(name) ?? name;
  const nodes = record.graph.nodes
    .filter(({ range }) => !gone.has(range))
    .map((node) =>
      [...node.inputs, ...node.outputs].some((name) => names.has(name))
        ? rewired(node, node.inputs.map(nameOf), node.outputs.map(nameOf))
        : node,
    );
  const changed = { ...record, graph: { ...record.graph, nodes } };
  return { record: changed, graph: buildGraph(changed) };
}
