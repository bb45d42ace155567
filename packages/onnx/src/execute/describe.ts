/** What a session says of its nodes and regions, as far as it is known once it is created. */
import { describeNode, type Graph, type GraphNode } from '../ir/graph.ts';
import type { Decisions, Match } from '../passes/match.ts';
import type { Price } from '../plan/cost.ts';
import type { Region } from '../plan/partition.ts';
import type { NodeReport, RegionReport } from '../report.ts';
import type { FloatFormat } from '../weights/floats.ts';
import { FAST_FORM } from './fast-form.ts';
import type { ForeignPlan } from './foreign.ts';
import type { Residents } from './residents.ts';

function nodeReport(node: GraphNode, region: number, where: 'msd' | 'ort', reason?: string): NodeReport {
  const { opType, domain } = node;
  // Exporters may leave names out.
  const name = node.name || describeNode(node);
  return { name, opType, domain, region, where, ...(reason !== undefined && { reason }) };
}

/** Of a cut model. */
export function nodeReports(
  graph: Graph,
  decisions: Decisions,
  regions: readonly Region[],
  foreign: ForeignPlan,
  { matrices }: Pick<Residents, 'matrices'>,
): NodeReport[] {
  const fast = new Set(foreign.regions.flatMap((region) => region.fast));
  const regionOf = new Map<GraphNode, Region>();
  for (const region of regions) for (const node of region.nodes) regionOf.set(node, region);
  const own = graph.nodes.map((node) => {
    const region = regionOf.get(node);
    const index = region?.index ?? -1;
    const decision = decisions.get(node);
    // A node that no output needs is on the side where it would be.
    const claimed = region ? region.claimed : typeof decision === 'object';
    const note = typeof decision === 'object' ? decision.note : undefined;
    if (claimed) {
      const report = nodeReport(node, index, 'msd', note);
      const quantized = typeof decision === 'object' ? quantizedOf(decision, matrices) : undefined;
      return quantized ? { ...report, quantized } : report;
    }
    const report = nodeReport(node, index, 'ort', reasonOf(decision));
    return fast.has(node) ? { ...report, form: FAST_FORM } : report;
  });
  return [...own, ...foldedNodes(graph).map((node) => nodeReport(node, -1, 'msd', 'its result is a constant'))];
}

/** Nodes that are gone: their results are constants. */
function foldedNodes({ nodes, folded }: Graph): GraphNode[] {
  const left = new Set(nodes);
  return [...(folded?.values() ?? [])].flatMap(({ node }) => (left.has(node) ? [] : node));
}

/** What the weights of a match lost when they were quantized, if they were. */
function quantizedOf({ resources = [] }: Match, matrices: Residents['matrices']): NodeReport['quantized'] {
  for (const { kind, key } of resources) {
    const matrix = kind === 'matrix' ? matrices.get(key) : undefined;
    if (matrix?.rounding) return { format: matrix.format as FloatFormat, ...matrix.rounding() };
  }
  return undefined;
}

/** Why a node of a cut model is ONNX Runtime's. */
function reasonOf(decision: Match | string | undefined): string | undefined {
  return typeof decision === 'object' ? 'taking it would cost more than it saves' : decision;
}

/** Of a model that runs whole. */
export function wholeReports(graph: Graph, decisions: Decisions): NodeReport[] {
  return [...graph.nodes, ...foldedNodes(graph)].map((node) => {
    const decision = decisions.get(node);
    return nodeReport(node, 0, 'ort', typeof decision === 'string' ? decision : undefined);
  });
}

export function regionReport(region: Region, { msd, ort }: Price, foreign: ForeignPlan): RegionReport {
  const { inputs, outputs } = region;
  const entry = foreign.regions.find((candidate) => candidate.index === region.index);
  const predictedMicroseconds = { ort: Math.round(ort), ...(region.claimed && { msd: Math.round(msd) }) };
  const base = { nodes: region.nodes.length, inputs, outputs, predictedMicroseconds };
  return entry
    ? { ...base, where: 'ort', session: foreign.sessions.indexOf(entry.session) }
    : { ...base, where: 'msd' };
}
