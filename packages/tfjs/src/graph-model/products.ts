/** The products of a loaded model that MSD knows, and what they multiply. */
import type { GraphModel } from '@tensorflow/tfjs-converter';
import { signatureOf } from './artifacts.ts';
import { constantOf } from './constants.ts';
import { internalsOf } from './model.ts';
import { CANDIDATES, recognise } from './recognise.ts';
import { checkTopology, scopeOf } from './topology.ts';

/** @returns names of tensors in the graph itself, by the names of the products that read them; functions are left out */
export function productInputs(model: GraphModel, where: string): Map<string, string> {
  const { artifacts, executor } = internalsOf(model, where);
  const { modelTopology } = artifacts;
  checkTopology(modelTopology);
  const constants = new Map(
    Object.entries(executor.weightMap).map(([name, [tensor]]) => [name, constantOf(name, tensor!)]),
  );
  const outputs = Object.values(signatureOf(artifacts)?.outputs ?? {}).flatMap(({ name }) => name ?? []);
  const scope = scopeOf(modelTopology.node, outputs.length ? outputs : undefined, 'graph');
  const inputs = new Map<string, string>();
  for (const node of scope.nodes.values()) {
    if (!CANDIDATES.has(node.op)) continue;
    const found = recognise(node, scope, constants);
    if (!('reason' in found) && found.op === 'MsdMatMul') inputs.set(node.name, found.inputs[0]!);
  }
  return inputs;
}
