/** What MSD took over, in one sentence. */

/** What is used of a report here: the package itself is the example's. */
interface Report {
  readonly nodes: readonly { readonly where: 'msd' | 'ort'; readonly region: number }[];
  readonly whole?: string;
}

/** Whether MSD has no part in the model. @param reports by the session's name */
export function isLeft(reports: Readonly<Record<string, Report>>): boolean {
  return Object.values(reports).every(({ whole }) => whole !== undefined);
}

/** @param reports by the session's name */
export function describeReports(reports: Readonly<Record<string, Report>>): string {
  const all = Object.values(reports);
  const whole = all.find((report) => report.whole !== undefined)?.whole ?? 'it would not be faster';
  if (isLeft(reports))
    return `MSD leaves this model to onnxruntime-web: ${whole}. Choose q4 or q8 weights, if there are any.`;
  // A node without a region is done already, or no output needs it.
  const nodes = all.flatMap((report) => report.nodes).filter(({ region }) => region >= 0);
  const own = nodes.filter(({ where }) => where === 'msd').length;
  if (own === nodes.length) return `MSD runs all ${own} nodes; onnxruntime-web’s WebAssembly is not started.`;
  return `MSD runs ${own} of ${nodes.length} nodes, onnxruntime-web the other ${nodes.length - own}.`;
}
