/** Sizes that a caller gives to dimensions with names: the model is another one from then on, with these sizes in its file. */
import type { GraphRecord, ModelRecord } from '../read/model.ts';
import type { ValueInfo } from '../read/types.ts';
import type { Overrides } from './session-options.ts';

export function withOverrides(record: ModelRecord, overrides: Overrides): ModelRecord {
  if (overrides.size === 0) return record;
  const sized = (infos: readonly ValueInfo[]): ValueInfo[] => infos.map((info) => withSizes(info, overrides));
  const { inputs, outputs, valueInfo } = record.graph;
  const graph: GraphRecord = {
    ...record.graph,
    inputs: sized(inputs),
    outputs: sized(outputs),
    valueInfo: sized(valueInfo),
  };
  return { ...record, graph };
}

function withSizes({ name, type }: ValueInfo, overrides: Overrides): ValueInfo {
  const dims = type.dims?.map((dim) => (typeof dim === 'string' ? (overrides.get(dim) ?? dim) : dim));
  return { name, type: { ...type, dims } };
}
