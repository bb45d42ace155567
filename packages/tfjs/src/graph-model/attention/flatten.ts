/**
 * A softmax as TensorFlow 1 wrote it: the scores' rows one below the other before it, and taken apart again after it.
 *
 *   shape = Shape(scores)
 *   flat  = Reshape(scores, ConcatV2([-1], Slice(shape, [axis], [1])))
 *   p     = Reshape(Softmax(flat), shape)
 */
import type { NodeDef } from '../topology.ts';
import { parseInput } from '../topology.ts';
import { consumersOf, type Graph, inputsOf, integersOf, producerOf } from './graph.ts';

/** The axis that a Reshape keeps as columns, if it is the first of these. */
export function flattenedAxis(graph: Graph, node: NodeDef): number | undefined {
  const [scores, shape] = inputsOf(node);
  const concat = producerOf(graph, shape);
  if (node.op !== 'Reshape' || concat?.op !== 'ConcatV2') return undefined;
  const [rows, columns, ...axis] = inputsOf(concat);
  const slice = producerOf(graph, columns);
  if (axis.length !== 1 || slice?.op !== 'Slice') return undefined;
  const [from, begin, size] = inputsOf(slice);
  const fits = isShapeOf(graph, from, scores) && isJust(graph, rows, -1) && isJust(graph, size, 1);
  const at = integersOf(graph, begin);
  return fits && at?.length === 1 ? at[0] : undefined;
}

/** Is a node the second of these, behind the softmax? */
export function unflattens(graph: Graph, node: NodeDef): boolean {
  const [rows, shape] = inputsOf(node);
  const softmax = producerOf(graph, rows);
  if (node.op !== 'Reshape' || softmax?.op !== 'Softmax') return false;
  const flat = producerOf(graph, inputsOf(softmax)[0]);
  return !!flat && flattenedAxis(graph, flat) !== undefined && isShapeOf(graph, shape, inputsOf(flat)[0]);
}

/** Is a node the shape of scores that only these ask for? It goes with them. */
export function isShapeForSoftmax(graph: Graph, node: NodeDef): boolean {
  const isAll = (own: NodeDef, isOurs: (reader: NodeDef) => boolean): boolean =>
    !graph.scope.outputs.has(own.name) && consumersOf(graph, own).every(isOurs);
  const isFlat = (reader: NodeDef) => flattenedAxis(graph, reader) !== undefined;
  const isConcat = (reader: NodeDef) => reader.op === 'ConcatV2' && isAll(reader, isFlat);
  const isSlice = (reader: NodeDef) => reader.op === 'Slice' && isAll(reader, isConcat);
  return node.op === 'Shape' && isAll(node, (reader) => unflattens(graph, reader) || isSlice(reader));
}

const isShapeOf = (graph: Graph, shape: string | undefined, tensor: string | undefined): boolean => {
  const node = producerOf(graph, shape);
  return node?.op === 'Shape' && parseInput(inputsOf(node)[0] ?? '').node === parseInput(tensor ?? '').node;
};

const isJust = (graph: Graph, input: string | undefined, value: number): boolean =>
  integersOf(graph, input)?.join() === `${value}`;
