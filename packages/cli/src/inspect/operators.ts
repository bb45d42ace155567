/** What runs where, put together: nodes of one operator that have the same reason are one line. */
import type { Inspection } from '@msd/onnx/inspect';

/** Nodes of one operator. */
export interface OperatorSummary {
  readonly operator: string;
  readonly where: 'msd' | 'ort';
  readonly count: number;
  /** Why they are ONNX Runtime's. */
  readonly reason?: string;
}

/** Of nodes that MSD has, in a model that it leaves alone: why it does is said once, above. */
const WHOLE = 'the model stays whole, see above';

function whyNot(reason: string | undefined, whole: string | undefined): string | undefined {
  if (whole === undefined) return reason;
  return reason === undefined || reason.endsWith(whole) ? WHOLE : reason;
}

/** Nodes that a run goes through, by operator and side, ONNX Runtime's first, the most frequent first. */
export function summarizeOperators({ nodes, whole }: Pick<Inspection, 'nodes' | 'whole'>): OperatorSummary[] {
  const groups = new Map<string, { operator: string; where: 'msd' | 'ort'; count: number; reason?: string }>();
  for (const { opType, domain, where, region, reason } of nodes) {
    if (region < 0) continue; // no run needs it
    const operator = domain === '' ? opType : `${domain}.${opType}`;
    const why = where === 'msd' ? undefined : whyNot(reason, whole);
    const key = JSON.stringify([operator, where, why]);
    const group = groups.get(key);
    if (group) group.count++;
    else groups.set(key, { operator, where, count: 1, ...(why !== undefined && { reason: why }) });
  }
  const rank = ({ where }: OperatorSummary): number => (where === 'ort' ? 0 : 1);
  return [...groups.values()].sort((a, b) => rank(a) - rank(b) || b.count - a.count);
}
