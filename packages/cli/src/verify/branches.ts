/**
 * A merged decoder as the graph of a first run: `If use_cache_branch` is its body for an empty cache. Only what lies in the model's own
 * graph can be asked for, and both bodies multiply with the same weights.
 */
import { dirname, join } from 'node:path';
import { dataTypeName, type NodeRecord, tensorBytes } from '@msd/onnx/model';
import { type AddedTensor, Edit, type NewNode } from '../edit/edit.ts';
import { encodeModel, verbatim } from '../edit/encode.ts';
import { type OpenModel, openModel, type Scope } from '../edit/open-model.ts';

/** A model without branches, and which of its inputs decide between them. */
export interface Straight {
  readonly model: OpenModel;
  /** Inputs that are taken for false. */
  readonly falseInputs: readonly string[];
}

/**
 * @param path where the model lies, with its external data
 * @returns the model itself where no input of it decides between bodies
 */
export async function straightened(model: OpenModel, path: string): Promise<Straight> {
  const { root } = model;
  const inputs = new Set(root.graph.inputs.map(({ name }) => name));
  const edit = new Edit(model);
  const falseInputs = new Set<string>();
  for (const [node, bodies] of root.inner) {
    const [condition = ''] = node.inputs;
    const body = bodies.get('else_branch');
    if (node.opType !== 'If' || !body || !inputs.has(condition)) continue;
    falseInputs.add(condition);
    edit.replace(node, nodesOf(edit, node, body));
    for (const tensor of body.graph.initializers) edit.add(root, addedOf(tensor));
  }
  if (falseInputs.size === 0) return { model, falseInputs: [] };
  const externalData = [...model.record.files.locations].map((location) => ({
    path: location,
    data: join(dirname(path), location),
  }));
  const straight = await openModel(encodeModel(edit, verbatim).finish(), externalData);
  return { model: straight, falseInputs: [...falseInputs] };
}

/** The nodes of a body where the If stood; its results have the names that the If gives them, often the same ones. */
function nodesOf(edit: Edit, node: NodeRecord, { graph, makers }: Scope): NewNode[] {
  const given = new Map<string, string>();
  const copies: NewNode[] = [];
  for (const [i, { name }] of graph.outputs.entries()) {
    const output = node.outputs[i] ?? '';
    if (output === '') continue;
    if (makers.has(name) && !given.has(name)) given.set(name, output);
    else copies.push({ opType: 'Identity', name: edit.name(`${output}/branch`), inputs: [name], outputs: [output] });
  }
  const named = (names: readonly string[]): string[] => names.map((name) => given.get(name) ?? name);
  const inside = graph.nodes.map(
    (each): NewNode => ({ node: each, inputs: named(each.inputs), outputs: named(each.outputs) }),
  );
  return [...inside, ...copies.map((copy) => ({ ...copy, inputs: named(copy.inputs) }))];
}

function addedOf(tensor: Parameters<typeof tensorBytes>[0]): AddedTensor {
  const dtype = dataTypeName(tensor.elemType) as AddedTensor['dtype'];
  return { name: tensor.name, dtype, dims: tensor.dims, data: tensorBytes(tensor) };
}
