/**
 * From a model to a running session: read, check, claim, cut, load.
 */
import { buildGraph, describeNode, type Graph, type GraphNode } from '../ir/graph.ts';
import type { OrtModule } from '../ort.ts';
import { type Claim, claim, type Refusal } from '../passes/claim.ts';
import { neededNodes, partition, type Region } from '../plan/partition.ts';
import { wholeReason } from '../plan/whole.ts';
import { isOrtFormat, type ModelRecord, readModel } from '../read/model.ts';
import { openExternal, openSource, siblingOf } from '../read/open.ts';
import type { ByteSource } from '../read/source.ts';
import type { NodeReport, RegionReport } from '../report.ts';
import { CutRefused, createForeign, type ForeignPlan } from './foreign.ts';
import { checkCuttable, type MsdOptions, parseSessionOptions, type SessionRequest } from './options.ts';
import type { ClaimedNode } from './schedule.ts';
import { CutSession, type MsdHandler } from './session.ts';
import { type LoadedWeights, loadWeights } from './weights.ts';
import { createWhole } from './whole.ts';

/**
 * Creates a session for a module of the ONNX Runtime family.
 *
 * @param model a path, a URL, or bytes (which must not change until the promise settles, and may be dropped then).
 * @param options of `InferenceSession.create`, `executionProviders` reduced to MSD's own entries.
 * @param defaults of `register`.
 */
export async function createSession(
  ort: OrtModule,
  model: string | Uint8Array,
  options: object,
  defaults: MsdOptions,
): Promise<MsdHandler> {
  const request = parseSessionOptions(options, defaults);
  const source = await openSource(model);
  let external: ReadonlyMap<string, ByteSource> | undefined;
  try {
    // A fetched model is passed on as bytes: it is not fetched twice.
    const original = typeof model === 'string' && source.bytes ? source.bytes : model;
    if (isOrtFormat(source)) return await createWhole(ort, original, request.whole, 'a file in ORT format', []);
    const record = readModel(source);
    external = record.files.sources;
    const graph = buildGraph(record);
    if (graph.nodes.some((node) => node.opType === 'MatMulNBits')) {
      await openExternal(record.files, model, request.externalData);
    }
    const decisions = claim(graph);
    const isClaimed = (node: GraphNode): boolean => decisions.get(node)?.kind === 'matmul';
    let reason = wholeReason(graph, neededNodes(graph), record.functions, isClaimed);
    if (reason === undefined) {
      checkCuttable(request);
      try {
        return await createCut(ort, graph, decisions, request);
      } catch (error) {
        if (!(error instanceof CutRefused)) throw error;
        reason = error.message;
      }
    }
    const nodes = graph.nodes.map((node) => nodeReport(node, decisions.get(node), 0));
    return await createWhole(ort, original, wholeOptions(model, record, request), reason, nodes);
  } finally {
    source.close();
    for (const each of external?.values() ?? []) each.close();
  }
}

async function createCut(
  ort: OrtModule,
  graph: Graph,
  decisions: ReadonlyMap<GraphNode, Claim | Refusal>,
  request: SessionRequest,
): Promise<MsdHandler> {
  const regions = partition(graph, (node) => decisions.get(node)?.kind === 'matmul');
  const claimed = new Map<GraphNode, Claim>();
  for (const node of regions.flatMap((region) => region.nodes)) {
    const decision = decisions.get(node);
    if (decision?.kind === 'matmul') claimed.set(node, decision);
  }
  const foreign = await createForeign(ort, graph, regions, request.region);
  try {
    const { backend, weights, fileBytes } = await loadWeights([...claimed.values()], request.msd);
    const plan = regions.map((region) => {
      if (!region.claimed) return foreign.regions.find((entry) => entry.index === region.index)!;
      return { nodes: region.nodes.map((node) => claimedNode(claimed.get(node)!, node, weights)) };
    });
    return new CutSession({
      ort,
      backend,
      split: { components: request.msd.components, activationBlock: request.msd.activationBlock },
      plan,
      sessions: foreign.sessions,
      inputs: graph.inputs,
      outputs: graph.outputs,
      nodes: nodeReports(graph, decisions, regions),
      regions: regions.map((region) => regionReport(region, foreign)),
      fileBytes,
    });
  } catch (error) {
    await Promise.all(foreign.sessions.map((session) => session.release()));
    throw error;
  }
}

/** What a run needs of a claimed node, without the file's bytes: a session must not keep them. */
function claimedNode(claim: Claim, node: GraphNode, weights: ReadonlyMap<Claim, LoadedWeights>): ClaimedNode {
  const { K, N, x, y } = claim;
  const { prepared, bias } = weights.get(claim)!;
  return { node: nodeName(node), prepared, K, N, x, y, bias: typeof claim.bias === 'string' ? claim.bias : bias };
}

/** A name for reports and errors; exporters may leave it out. */
function nodeName(node: GraphNode): string {
  return node.name || describeNode(node);
}

function nodeReport(node: GraphNode, decision: Claim | Refusal | undefined, region: number): NodeReport {
  const { opType, domain } = node;
  const base = { name: nodeName(node), opType, domain, region };
  return decision?.kind === 'refusal' ? { ...base, where: 'ort', reason: decision.reason } : { ...base, where: 'msd' };
}

function nodeReports(
  graph: Graph,
  decisions: ReadonlyMap<GraphNode, Claim | Refusal>,
  regions: readonly Region[],
): NodeReport[] {
  const regionOf = new Map<GraphNode, number>();
  for (const region of regions) for (const node of region.nodes) regionOf.set(node, region.index);
  return graph.nodes.map((node) => nodeReport(node, decisions.get(node), regionOf.get(node) ?? -1));
}

function regionReport(region: Region, foreign: ForeignPlan): RegionReport {
  const { inputs, outputs } = region;
  const entry = foreign.regions.find((candidate) => candidate.index === region.index);
  const base = { nodes: region.nodes.length, inputs, outputs };
  return entry
    ? { ...base, where: 'ort', session: foreign.sessions.indexOf(entry.session) }
    : { ...base, where: 'msd' };
}

/** ONNX Runtime Web looks for external data only where it is told to: files beside a path or URL are named here. */
function wholeOptions(model: string | Uint8Array, record: ModelRecord, request: SessionRequest): object {
  if (request.externalData.length > 0 || record.files.locations.size === 0) return request.whole;
  const externalData: { path: string; data: string }[] = [];
  for (const location of record.files.locations) {
    const data = siblingOf(model, location);
    if (data !== undefined) externalData.push({ path: location, data });
  }
  return { ...request.whole, externalData };
}
