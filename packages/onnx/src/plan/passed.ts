/** Graph outputs that no node computes: inputs of the graph or constants, as they are or through Identity. */
import { BOOL, FLOAT16, FLOAT32, INT8, INT32, INT64, UINT8 } from '../data-types.ts';
import type { Constant, Graph } from '../ir/graph.ts';
import type { ValueInfo } from '../read/types.ts';

export type Passed =
  | { readonly kind: 'input'; readonly name: string }
  | { readonly kind: 'constant'; readonly constant: Constant };

/** Element types that a constant can be handed over in. */
const TYPES: ReadonlySet<number> = /* @__PURE__ */ new Set([FLOAT32, FLOAT16, INT8, UINT8, INT32, INT64, BOOL]);

/** By name of the output. */
export function passedOutputs(graph: Graph): Map<string, Passed> {
  const passed = new Map<string, Passed>();
  for (const { name } of graph.outputs) {
    const source = sourceOf(graph, name);
    const constant = graph.constants.get(source);
    if (constant) {
      const isPlain = constant.kind === 'node' || (constant.kind === 'tensor' && TYPES.has(constant.tensor.elemType));
      if (isPlain) passed.set(name, { kind: 'constant', constant });
    } else if (!graph.producers.has(source)) passed.set(name, { kind: 'input', name: source });
  }
  return passed;
}

/** Outputs that are others under a second name, by their names: a body that leaves a value twice. */
export function sameOutputs(graph: Graph): Map<string, string> {
  const same = new Map<string, string>();
  const names = new Set(graph.outputs.map(({ name }) => name));
  for (const name of names) {
    const source = sourceOf(graph, name);
    if (source !== name && names.has(source)) same.set(name, source);
  }
  return same;
}

function sourceOf({ producers }: Graph, name: string): string {
  let source = name;
  for (let node = producers.get(name); node?.opType === 'Identity' && node.domain === ''; node = producers.get(source))
    source = node.inputs[0] ?? '';
  return source;
}

/** The graph that computes the others. */
export function withoutOutputs(graph: Graph, passed: ReadonlyMap<string, unknown>): Graph {
  if (passed.size === 0) return graph;
  const outputs: readonly ValueInfo[] = graph.outputs.filter(({ name }) => !passed.has(name));
  return { ...graph, outputs };
}
