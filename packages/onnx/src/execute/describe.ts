/** The report of a session's nodes and regions, as far as it is known after creation. */
import { describeNode, type Graph, type GraphNode } from '../ir/graph.ts';
import type { Match } from '../passes/matcher.ts';
import type { Price } from '../plan/cost.ts';
import type { Region } from '../plan/partition.ts';
import { readSubgraph } from '../read/model.ts';
import type { NodeRecord } from '../read/node.ts';
import type { NodeReport, RegionReport } from '../report.ts';
import type { FloatFormat } from '../weights/floats.ts';
import { type BuiltWay, sessionsOf } from './control/build.ts';
import type { Draft } from './drafts.ts';
import type { RegionSession } from './fast-form.ts';
import type { ForeignPlan } from './foreign.ts';
import type { Residents } from './residents.ts';

/** The remark for a node that is handed to ONNX Runtime in a faster form. */
export const FAST_FORM = 'handed over with qk_output 1, which ONNX Runtime computes faster';

function nodeReport(node: NodeRecord, region: number, where: 'msd' | 'ort', reason?: string): NodeReport {
  const { opType, domain } = node;
  // Exporters may leave names out.
  const name = node.name || describeNode(node);
  const inside = node.inside === undefined ? {} : { inside: node.inside };
  return { name, opType, domain, region, where, ...(reason !== undefined && { reason }), ...inside };
}

type Reports = readonly NodeReport[];

/** Merges the reports of all ways through a model: a node on several ways is listed once, as in the first one. */
export function mergedNodes(ways: readonly Reports[]): Reports {
  const [only] = ways;
  if (ways.length === 1) return only!;
  const listed = new Map<string, NodeReport>();
  for (const reports of ways) {
    const counts = new Map<string, number>();
    for (const report of reports) {
      const same = JSON.stringify([report.inside ?? '', report.opType, report.name]);
      const count = (counts.get(same) ?? 0) + 1; // names may come twice
      counts.set(same, count);
      const key = `${same} ${count}`;
      if (!listed.has(key)) listed.set(key, report);
    }
  }
  return [...listed.values()];
}

/** Nodes of subgraphs, by the node that has them: read before the bytes of a fetched file are freed. */
export function innerNodes(graphs: readonly Graph[]): ReadonlyMap<GraphNode, Reports> {
  return new Map(graphs.flatMap(({ nodes }) => nodes.map((node) => [node, insideReports(node, -1)])));
}

/** Reports of a cut model's nodes and regions. */
export function cutReports(
  ways: readonly BuiltWay[],
  innerNodes: ReadonlyMap<GraphNode, Reports>,
  { matrices }: Pick<Residents, 'matrices'>,
) {
  const sessions = sessionsOf(ways);
  const regions: RegionReport[] = [];
  const nodesOf = ({ draft, foreign, bodies }: BuiltWay): Reports => {
    const first = regions.length;
    const { regions: own, prices } = draft.sides!;
    regions.push(...own.map((region, at) => regionReport(region, prices[at]!, foreign, sessions)));
    const nodes = nodeReports(draft, first, foreign, innerNodes, matrices);
    return [...nodes, ...[...bodies.values()].flat().flatMap((inner) => mergedNodes(inner.map(nodesOf)))];
  };
  return { nodes: mergedNodes(ways.map(nodesOf)), regions };
}

/** @param first index of the first region among all */
function nodeReports(
  { typed: { graph }, decisions, controls, sides }: Draft,
  first: number,
  foreign: ForeignPlan,
  inner: ReadonlyMap<GraphNode, Reports>,
  matrices: Residents['matrices'],
): NodeReport[] {
  const fast = new Set(foreign.regions.flatMap((region) => region.fast));
  const regionOf = new Map<GraphNode, Region>();
  for (const region of sides!.regions) for (const node of region.nodes) regionOf.set(node, region);
  const isRead = ({ outputs }: GraphNode): boolean =>
    graph.nodes.some((each) => regionOf.get(each)?.claimed && each.inputs.some((name) => outputs.includes(name)));
  const own = graph.nodes.flatMap((node) => {
    const region = regionOf.get(node);
    const index = region ? first + region.index : -1;
    const control = controls.get(node);
    const decision = typeof control === 'string' ? `${node.opType}: ${control}` : decisions.get(node);
    if (region?.control)
      return [nodeReport(node, index, 'msd', `${node.opType === 'If' ? 'branches are' : 'body is'} planned`)];
    // A node that no output needs is on the side where it would be.
    const claimed = region ? region.claimed : typeof decision === 'object';
    const note = typeof decision === 'object' ? decision.note : undefined;
    if (claimed) {
      const report = nodeReport(node, index, 'msd', note);
      const quantized = typeof decision === 'object' ? quantizedOf(decision, matrices) : undefined;
      return [quantized ? { ...report, quantized } : report];
    }
    // An If of tables that MSD reads where it turns heads: nothing else needs it.
    const isTables = !region && node.opType === 'If' && isRead(node);
    if (isTables) return [nodeReport(node, index, 'msd', 'its tables are read where heads are turned')];
    const report = nodeReport(node, index, 'ort', reasonOf(decision));
    const insides = inner.get(node)!.map((each) => ({ ...each, region: index }));
    return [fast.has(node) ? { ...report, form: FAST_FORM } : report, ...insides];
  });
  return [...own, ...foldedNodes(graph).map((node) => nodeReport(node, -1, 'msd', 'its result is a constant'))];
}

/** Nodes of the subgraphs of a node that is ONNX Runtime's. */
function insideReports(node: NodeRecord, region: number): NodeReport[] {
  const own = node.name || describeNode(node);
  return [...node.attributes].flatMap(([name, attribute]) => {
    if (attribute.kind !== 'graph' || attribute.constants) return [];
    const files = { locations: new Set<string>(), sources: new Map() };
    const inside = [...(node.inside === undefined ? [] : [node.inside]), own, name].join('/');
    const reason = `inside ${node.opType} '${own}', which ONNX Runtime runs as a whole`;
    return readSubgraph(attribute.value, files).nodes.flatMap((each) => {
      const inner = { ...each, inside };
      return each.opType === 'Constant'
        ? []
        : [nodeReport(inner, region, 'ort', reason), ...insideReports(inner, region)];
    });
  });
}

/** Nodes that were removed, because their results are constants. */
function foldedNodes({ nodes, folded }: Graph): GraphNode[] {
  const left = new Set(nodes);
  return [...(folded?.values() ?? [])].flatMap(({ node }) => (left.has(node) ? [] : node));
}

/** The error of a match's weights, if they were quantized while loading. */
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

/** Of a model that runs whole. @param whole why it does: the reason of nodes that MSD would have taken */
export function wholeReports({ typed: { graph }, decisions, controls }: Draft, whole: string): NodeReport[] {
  return [...graph.nodes, ...foldedNodes(graph)].flatMap((node) => {
    const control = controls.get(node);
    const decision = typeof control === 'string' ? `${node.opType}: ${control}` : decisions.get(node);
    const reason = typeof decision === 'string' ? decision : `the model runs whole: ${whole}`;
    const report = nodeReport(node, 0, 'ort', reason);
    return [report, ...insideReports(node, 0)];
  });
}

function regionReport(
  region: Region,
  { msd, ort }: Price,
  foreign: ForeignPlan,
  sessions: readonly RegionSession[],
): RegionReport {
  const { inputs, outputs } = region;
  const session = foreign.regions.find((candidate) => candidate.index === region.index)?.session;
  const predictedMicroseconds = { ort: Math.round(ort), ...(!Number.isNaN(msd) && { msd: Math.round(msd) }) };
  const base = { nodes: region.nodes.length, inputs, outputs, predictedMicroseconds };
  const where = region.claimed ? ('msd' as const) : ('ort' as const);
  return session ? { ...base, where, session: sessions.indexOf(session) } : { ...base, where };
}
