/**
 * Small tables of codes become floats before rows are chosen, when the model is loaded:
 *
 *   Gather(codes, indices) → DequantizeLinear → y     becomes     DequantizeLinear(codes) → table,  Gather(table, indices) → y
 *
 * Biases of distances are such tables. JavaScript has floats of so few at hand, and chooses among them in every run of a decoder.
 */
import { INT8, UINT8 } from '../data-types.ts';
import type { Graph } from '../ir/graph.ts';
import { MAX_KNOWN } from '../ir/info.ts';
import { operatorName } from '../ops/operator.ts';
import type { ModelRecord } from '../read/model.ts';
import type { NodeRecord } from '../read/node.ts';
import type { ByteRange } from '../read/source.ts';
import { elementCount, type TensorRef } from '../read/tensor.ts';
import { rewired, withChanged } from './rewired.ts';

/** @returns the record and graph with such tables; the same if there are none */
export function tablesFirst(
  record: ModelRecord,
  graph: Graph,
): { readonly record: ModelRecord; readonly graph: Graph } {
  const changed = new Map<ByteRange, readonly NodeRecord[]>();
  const outputs = new Set(graph.outputs.map(({ name }) => name));
  const tensorOf = (name: string): TensorRef | undefined => {
    const constant = graph.constants.get(name);
    return constant?.kind === 'tensor' ? constant.tensor : undefined;
  };
  for (const node of graph.nodes) {
    const [codes = '', ...rest] = node.inputs;
    const gather = operatorName(node) === 'DequantizeLinear' ? graph.producers.get(codes) : undefined;
    if (gather?.opType !== 'Gather' || gather.domain !== '' || outputs.has(codes)) continue;
    const [table = '', indices = ''] = gather.inputs;
    const tensor = tensorOf(table);
    const isCoded = tensor?.elemType === INT8 || tensor?.elemType === UINT8;
    const isOne = rest.every((name) => name === '' || (tensorOf(name) && elementCount(tensorOf(name)!) === 1));
    if (!isCoded || elementCount(tensor) > MAX_KNOWN || !isOne || graph.consumers.get(codes)!.length > 1) continue;
    const floats = `${table} as ${node.outputs[0]!}`;
    changed.set(gather.range, [
      rewired(node, [table, ...rest], [floats]),
      rewired(gather, [floats, indices], node.outputs),
    ]);
    changed.set(node.range, []);
  }
  return withChanged(record, graph, changed);
}
