/**
 * Foreign regions of equal structure share one ONNX Runtime session: the layers of a decoder need a handful of sessions
 * instead of a hundred. Two regions are equal when their nodes (operator, attributes, wiring) and constants are; small float
 * constants that only scale or shift data (norm weights, biases) may differ and become session inputs.
 */
import { FLOAT32, STRING } from '../data-types.ts';
import type { Constant, Graph } from '../ir/graph.ts';
import type { NodeRecord } from '../read/node.ts';
import { readRange } from '../read/source.ts';
import { elementCount, type TensorRef, tensorByteLength, tensorBytes } from '../read/tensor.ts';
import type { Region } from './partition.ts';

/** Float constants up to this size can be fed at each run instead of being built in. */
const MAX_LIFTED_BYTES = 65536;
/** Constants up to this size are compared by content, larger ones by name. */
const MAX_COMPARED_BYTES = 4096;

/** Operators that take a float constant as plain data, so that feeding it changes nothing but where it comes from. */
const LIFTING_OPS: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'Add',
  'Sub',
  'Mul',
  'Div',
  'LayerNormalization',
  'RMSNormalization',
  'SimplifiedLayerNormalization',
  'SkipLayerNormalization',
  'SkipSimplifiedLayerNormalization',
  'BiasGelu',
  'FastGelu',
]);

/** A region seen as a structure: equal keys mean that positions in `inputs`, `outputs` and `lifted` correspond. */
export interface Structure {
  readonly region: Region;
  readonly key: string;
  /** Constants that may differ between regions of this key. */
  readonly lifted: readonly string[];
}

/** Regions that one session serves. */
export interface SharedStructure {
  /** The first of them: the session is built from it and has its names. */
  readonly members: readonly Structure[];
  /** Positions in `lifted` that differ between members and are therefore fed. */
  readonly fed: readonly number[];
}

/** Describes a region; the types of its inputs are not part of the key, they are known only once its producers exist. */
export function structureOf(graph: Graph, region: Region): Structure {
  const liftable = findLiftable(graph, region);
  const ids = new Map<string, number>();
  const idOf = (name: string): number => {
    let id = ids.get(name);
    if (id === undefined) {
      id = ids.size;
      ids.set(name, id);
    }
    return id;
  };
  const parts: unknown[] = [];
  parts.push('in', region.inputs.map(idOf));
  const lifted: string[] = [];
  for (const node of region.nodes) {
    for (const name of [...node.inputs, ...node.captures]) {
      if (name === '' || ids.has(name)) continue;
      const constant = graph.constants.get(name);
      if (!constant) continue;
      if (liftable.has(name)) {
        lifted.push(name);
        parts.push('lift', idOf(name), liftable.get(name)!.dims);
      } else parts.push('const', idOf(name), constantKey(name, constant));
    }
    const wires = (names: readonly string[]): (number | null)[] =>
      names.map((name) => (name === '' ? null : idOf(name)));
    // A subgraph names what it captures, so regions with subgraphs are equal only if those names are.
    parts.push(
      node.domain,
      node.opType,
      node.overload,
      attributesKey(node),
      wires(node.inputs),
      node.captures,
      wires(node.outputs),
    );
  }
  parts.push('out', region.outputs.map(idOf));
  return { region, key: JSON.stringify(parts), lifted };
}

/** Groups structures by key and finds out what has to be fed. */
export function shareStructures(graph: Graph, structures: readonly Structure[]): SharedStructure[] {
  const groups = new Map<string, Structure[]>();
  for (const structure of structures) {
    const group = groups.get(structure.key);
    if (group) group.push(structure);
    else groups.set(structure.key, [structure]);
  }
  return [...groups.values()].map((members) => ({ members, fed: differing(graph, members) }));
}

function differing(graph: Graph, [first, ...others]: readonly Structure[]): number[] {
  const fed: number[] = [];
  first?.lifted.forEach((name, position) => {
    const own = tensorOf(graph, name);
    if (others.some((other) => !sameTensor(own, tensorOf(graph, other.lifted[position]!)))) fed.push(position);
  });
  return fed;
}

function tensorOf(graph: Graph, name: string): TensorRef {
  const constant = graph.constants.get(name);
  if (constant?.kind !== 'tensor') throw new RangeError(`plan: '${name}', expected a constant tensor, got none.`);
  return constant.tensor;
}

function sameTensor(a: TensorRef, b: TensorRef): boolean {
  if (a === b) return true;
  const left = tensorBytes(a);
  const right = tensorBytes(b);
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}

/** Small float constants whose every use in the region is plain data. */
function findLiftable(graph: Graph, region: Region): Map<string, TensorRef> {
  const liftable = new Map<string, TensorRef>();
  for (const name of region.constants) {
    const constant = graph.constants.get(name);
    if (constant?.kind !== 'tensor' || constant.tensor.elemType !== FLOAT32) continue;
    const bytes = tensorByteLength(constant.tensor);
    if (bytes > 0 && bytes <= MAX_LIFTED_BYTES && elementCount(constant.tensor) > 1)
      liftable.set(name, constant.tensor);
  }
  for (const node of region.nodes) {
    if (LIFTING_OPS.has(node.opType)) continue;
    for (const name of [...node.inputs, ...node.captures]) liftable.delete(name);
  }
  for (const node of region.nodes) for (const name of node.captures) liftable.delete(name);
  return liftable;
}

function constantKey(name: string, constant: Constant): unknown {
  if (constant.kind === 'node') return ['node', attributesKey(constant.node)];
  if (constant.kind === 'sparse') return ['sparse', name];
  const { tensor } = constant;
  const small = tensor.elemType !== STRING && tensorByteLength(tensor) <= MAX_COMPARED_BYTES;
  return small ? [tensor.elemType, tensor.dims, latin1(tensorBytes(tensor))] : ['named', name];
}

function attributesKey(node: NodeRecord): unknown {
  const bytes = node.attributeRanges.reduce((sum, range) => sum + range.length, 0);
  if (bytes > MAX_COMPARED_BYTES) return ['of', node.outputs];
  return node.attributeRanges.map((range) => latin1(readRange(range)));
}

/** Bytes as a string of the same length, one code unit per byte. */
function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
