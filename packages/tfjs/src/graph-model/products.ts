/** The products of a loaded model that MSD knows, and what they multiply. */
import type { GraphModel } from '@tensorflow/tfjs-converter';
import { signatureOf } from './artifacts.ts';
import { constantOf } from './constants.ts';
import { hasLoops, loopCode, prepareLoops } from './loops/steps.ts';
import { internalsOf } from './model.ts';
import { CANDIDATES, recognise } from './recognise.ts';
import { scopesOf } from './scopes.ts';
import { checkTopology } from './topology.ts';

/** @returns names of tensors in the graph itself, by the names of the products that read them; of loops those that it knows */
export async function productInputs(model: GraphModel, where: string): Promise<Map<string, string>> {
  const { artifacts, executor } = internalsOf(model, where);
  const { modelTopology } = artifacts;
  checkTopology(modelTopology);
  await prepareLoops(modelTopology);
  const constants = new Map(
    Object.entries(executor.weightMap).map(([name, [tensor]]) => [name, constantOf(name, tensor!)]),
  );
  const outputs = Object.values(signatureOf(artifacts)?.outputs ?? {}).flatMap(({ name }) => name ?? []);
  const scopes = scopesOf(modelTopology, outputs.length ? outputs : undefined);
  const scope = scopes.main;
  const code = hasLoops(modelTopology) ? loopCode() : undefined;
  const isLooped = code?.loopNodes(scopes) ?? (() => false);
  const inputs = code?.loopInputs(scopes, constants) ?? new Map<string, string>();
  for (const node of scope.nodes.values()) {
    if (!CANDIDATES.has(node.op) || isLooped(node, scope)) continue;
    const found = recognise(node, scope, constants);
    if (!('reason' in found) && found.op === 'MsdMatMul') inputs.set(node.name, found.inputs[0]!);
  }
  return inputs;
}
