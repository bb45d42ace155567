/** A model's artifacts, rewritten: what an IOHandler hands to tfjs, and what `model.save` writes. */
import type { io } from '@tensorflow/tfjs-core';
import { ModelFormatError } from '../errors.ts';
import type { ModelReport } from '../report.ts';
import { readManifest, type StoredWeight, sizeOf, type WeightSpec } from '../weights/manifest.ts';
import { fileConstant } from '../weights/source.ts';
import { attributesOf, inputCount, isMsdOp } from './ops.ts';
import { rootOf } from './recognise.ts';
import { type RewriteOptions, rewriteGraph, type Signature } from './rewrite.ts';
import { checkTopology, scopeOf, type Topology } from './topology.ts';

export interface RewrittenArtifacts {
  readonly artifacts: io.ModelArtifacts;
  readonly report: ModelReport;
}

/** Bytes that tfjs keeps per weight. */
export const stockBytes = (spec: Pick<WeightSpec, 'shape' | 'dtype'>): number =>
  spec.dtype === 'string' ? 0 : sizeOf(spec) * (spec.dtype === 'bool' ? 1 : 4);

/** @throws {@link ModelFormatError} if topology and weights contradict themselves or each other */
export function rewriteArtifacts(artifacts: io.ModelArtifacts, options: RewriteOptions): RewrittenArtifacts {
  const { modelTopology, weightSpecs, weightData } = artifacts;
  checkTopology(modelTopology);
  const initializer = artifacts.modelInitializer as Topology | undefined;
  if (initializer?.node !== undefined) checkTopology(initializer);
  const stored = readManifest(weightSpecs ?? [], weightData ?? new ArrayBuffer(0));
  checkMsdNodes(modelTopology, stored);
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
    stock += stockBytes(spec);
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
      weightData: data,
    },
    report: { nodes, stockBytes: stock, weightBytes },
  };
}

export function signatureOf({ signature, userDefinedMetadata }: io.ModelArtifacts): Signature {
  return (signature ?? (userDefinedMetadata as { signature?: object } | undefined)?.signature) as Signature;
}

/** Models that were saved with MSD's ops: each spec has to fit what its constant holds. */
function checkMsdNodes({ node, library }: Topology, stored: ReadonlyMap<string, StoredWeight>): void {
  for (const nodes of [node, ...(library?.function ?? []).map(({ nodeDef = [] }) => nodeDef)]) {
    if (!nodes.some(({ op }) => isMsdOp(op))) continue;
    const scope = scopeOf(nodes, [], 'model');
    for (const own of nodes) {
      if (!isMsdOp(own.op)) continue;
      const name = rootOf(scope, own.input?.[inputCount(own.op)] ?? '');
      const spec = name === undefined ? undefined : stored.get(name)?.spec;
      if (!spec) throw new ModelFormatError(`model: ${own.op} ${own.name}, expected packed weights as a constant.`);
      if (spec.dtype !== 'int32' || spec.quantization)
        throw new ModelFormatError(`model: ${own.name}, expected plain int32 weights, got ${spec.dtype} of ${name}.`);
      attributesOf(own, sizeOf(spec));
    }
  }
}
