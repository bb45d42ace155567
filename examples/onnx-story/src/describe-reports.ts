/** What MSD took over, in one sentence. */
import type { SessionReport } from '@msd/onnx/register';

/** @param reports by the session's name */
export function describeReports(reports: Readonly<Record<string, SessionReport>>): string {
  const all = Object.values(reports);
  if (all.length === 0)
    return 'MSD leaves this model to onnxruntime-web: it would not be faster. Choose q4 or q8 weights, if there are any.';
  const whole = all.find((report) => report.whole !== undefined)?.whole;
  if (whole !== undefined)
    return `MSD leaves this model to onnxruntime-web: ${whole}. Choose q4 or q8 weights, if there are any.`;
  const nodes = all.flatMap((report) => report.nodes);
  const own = nodes.filter(({ where }) => where === 'msd');
  if (own.length === nodes.length)
    return `MSD runs all ${nodes.length} nodes; onnxruntime-web’s WebAssembly is not started.`;
  return `MSD runs ${own.length} of ${nodes.length} nodes, onnxruntime-web the other ${nodes.length - own.length}.`;
}
