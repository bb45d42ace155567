/** A model's artifacts, rewritten: what an IOHandler hands to tfjs, and what `model.save` writes. */
import type { io } from '@tensorflow/tfjs-core';
import { ModelFormatError, shown } from '../errors.ts';
import type { RewrittenArtifacts } from '../loading/load.ts';
import { isOlder, upgrade } from '../saved.ts';
import { sizeOf } from '../shapes.ts';
import { readable, type StoredWeight, type WeightSpec, weightsOf } from '../weights/manifest.ts';
import { fileConstant } from '../weights/source.ts';
import { type PackedNode, packedBefore, packedNodesOf } from './packed-nodes.ts';
import { type RewriteOptions, rewriteGraph, type Signature } from './rewrite.ts';
import { specOfNode } from './spec-attr.ts';
import { asString, checkTopology, checkVersions, type NodeDef, type Topology } from './topology.ts';
import { windowOf } from './window-attr.ts';

/** Bytes that tfjs keeps per weight. */
export const stockBytes = (spec: Pick<WeightSpec, 'shape' | 'dtype'>): number =>
  spec.dtype === 'string' ? 0 : sizeOf(spec.shape) * (spec.dtype === 'bool' ? 1 : 4);

/** @throws {@link ModelFormatError} if topology and weights contradict themselves or each other */
export function rewriteArtifacts(
  artifacts: io.ModelArtifacts,
  options: RewriteOptions,
  given?: ReadonlyMap<string, StoredWeight>,
): RewrittenArtifacts {
  checkTopology(artifacts.modelTopology);
  checkVersions(artifacts.modelTopology);
  const initializer = artifacts.modelInitializer as Topology | undefined;
  if (initializer?.node !== undefined) checkTopology(initializer);
  const stored = given ? new Map(given) : weightsOf(artifacts);
  const modelTopology = takeMsdNodes(artifacts.modelTopology, stored);
  const already = packedBefore(modelTopology, (name) => sizeOf(stored.get(name)!.spec.shape));
  const constants = new Map([...stored].map(([name, weight]) => [name, fileConstant(weight)]));
  const { topology, packed, dropped, nodes } = rewriteGraph(
    modelTopology,
    signatureOf(artifacts),
    initializer,
    constants,
    options,
  );
  const specs: WeightSpec[] = [];
  const data: ArrayBuffer[] = [];
  let [weightBytes, stock] = [0, 0];
  for (const [name, { spec, bytes }] of stored) {
    stock += already.stockBytes.get(name) ?? stockBytes(spec);
    if (dropped.has(name)) continue;
    const replacement = packed.get(name)?.data;
    specs.push(replacement ? { name, shape: [replacement.length], dtype: 'int32' } : spec);
    data.push(replacement?.buffer ?? bytes().buffer);
    weightBytes += replacement?.byteLength ?? stockBytes(spec);
  }
  return {
    artifacts: {
      ...artifacts,
      modelTopology: topology as unknown as NonNullable<io.ModelArtifacts['modelTopology']>,
      weightSpecs: specs as io.WeightsManifestEntry[],
      weightData: readable(data),
    },
    report: { nodes: [...already.nodes, ...nodes], stockBytes: stock, weightBytes },
    packed,
  };
}

export function signatureOf({ signature, userDefinedMetadata }: io.ModelArtifacts): Signature {
  const found = signature ?? (userDefinedMetadata as { signature?: object } | null | undefined)?.signature;
  for (const [name, tensor] of Object.entries((found as Signature)?.outputs ?? {}))
    if (typeof tensor !== 'object' || tensor === null || (tensor.name !== undefined && typeof tensor.name !== 'string'))
      throw new ModelFormatError(`model: signature, expected a tensor with a name for ${shown(name)}.`);
  return found as Signature;
}

/**
 * Models that were saved with MSD's ops: each spec has to fit what its constant holds. Older ones are repacked.
 *
 * @param stored gets the new bytes
 * @returns the graph with the specs as they are now
 */
function takeMsdNodes(topology: Topology, stored: Map<string, StoredWeight>): Topology {
  const given = new Map(stored); // nodes may share a constant
  const upgraded = new Map<NodeDef, NodeDef>();
  const take = ({ node: own, constant: name, attr }: PackedNode) => {
    const weight = name === undefined ? undefined : given.get(name);
    if (name === undefined || !weight)
      throw new ModelFormatError(`model: ${own.op} ${own.name}, expected packed weights as a constant.`);
    const { dtype, quantization } = weight.spec;
    if (dtype !== 'int32' || quantization)
      throw new ModelFormatError(`model: ${own.name}, expected plain int32 weights, got ${dtype} of ${name}.`);
    const saved = specOfNode(own, sizeOf(weight.spec.shape), attr);
    if (own.op === 'MsdConv2D' && saved.kind === 'matrix') windowOf(own, saved.K);
    if (!isOlder(saved)) return;
    const { spec, data } = upgrade(saved, new Int32Array(weight.bytes().buffer));
    const before = upgraded.get(own) ?? own;
    upgraded.set(own, { ...before, attr: { ...before.attr, [attr]: asString(JSON.stringify(spec)) } });
    stored.set(name, { spec: weight.spec, bytes: () => new Uint8Array(data.buffer) });
  };
  for (const packed of packedNodesOf(topology)) take(packed);
  const lists = [topology.node, ...(topology.library?.function ?? []).map(({ nodeDef = [] }) => nodeDef)];
  for (const own of lists.flat()) if (own.op === 'MsdDepthwiseConv2D') windowOf(own); // it has no packed weights
  if (upgraded.size === 0) return topology;
  const now = (nodes: readonly NodeDef[]) => nodes.map((node) => upgraded.get(node) ?? node);
  const { library } = topology;
  const functions = library?.function?.map((body) => ({ ...body, nodeDef: now(body.nodeDef ?? []) }));
  return { ...topology, node: now(topology.node), ...(functions && { library: { ...library, function: functions } }) };
}
