/**
 * Code that a model needs beyond the common part. It is fetched as soon as the records of the file are read; code for
 * ONNX Runtime's side when it is known that there is something to run.
 */
import type { Branches } from '../inline/branches.ts';
import { plainModel } from '../inline/plain.ts';
import { OPERATORS } from '../ops/index.ts';
import { NotFetched } from '../ops/late.ts';
import { FOLDED } from '../passes/folded.ts';
import { type ModelRecord, operatorsOf } from '../read/model.ts';
import type { NodeRecord } from '../read/node.ts';
import { FETCHED, loadOperators, namesOf, type Parts } from './families.ts';

/** Operators of graphs that were not made for one kernel: one of them brings all that such graphs may have. */
const GRAPHS = 'Transpose';

/** One of what few graphs have brings all of it. */
const RARE = 'Log';

/** Operators that do without the family of graphs; a Constant is none, it is what it holds. */
const ALONE: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'Constant',
  ...[FETCHED.decoder, FETCHED.experts, FETCHED.integers].flatMap(namesOf),
]);

/** Fetches what {@link NotFetched} was thrown for. */
export async function fetchMissing(error: unknown): Promise<void> {
  if (!(error instanceof NotFetched)) throw error;
  await loadOperators(new Set([error.message === 'headNorms' ? RARE : GRAPHS]));
}

/** Fetches operators and parts of a model. */
export async function loadParts(
  record: ModelRecord,
): Promise<{ readonly parts: Parts; readonly branches: Pick<Branches, 'planned' | 'whole'> }> {
  const operators = operatorsOf(record);
  const isInlined = record.functions.length > 0 || CONTROL_FLOW.some((name) => operators.has(name));
  const isKnown = (name: string): boolean => OPERATORS.has(name) || ALONE.has(name);
  const needsGraphs = isInlined || hasFolds(record) || hasChoices(record) || ![...operators].every(isKnown);
  const names = new Set(operators);
  if (needsGraphs) names.add(GRAPHS);
  if (castsOutputs(record)) names.add(RARE);
  const [parts, fetched] = await Promise.all([loadOperators(names), isInlined ? import('./inlining.ts') : undefined]);
  if (!fetched) return { parts, branches: plainModel(record) };
  const { branches, control } = fetched.inlining;
  return { parts: { ...parts, control }, branches: branches(record) };
}

const CONTROL_FLOW: readonly string[] = ['If', 'Loop', 'Scan'];

/** Does it hand out values as another type than it computes with? */
function castsOutputs({ graph }: ModelRecord): boolean {
  const names = new Set(graph.outputs.map(({ name }) => name));
  return graph.nodes.some(({ opType, outputs }) => opType === 'Cast' && names.has(outputs[0] ?? ''));
}

/** Has it nodes that may be constants? */
function hasFolds({ graph }: ModelRecord): boolean {
  const constants = constantsOf(graph);
  return graph.nodes.some(({ opType, inputs }) => FOLDED.has(opType) && constants.has(inputs[0] ?? ''));
}

/** Has it nodes that may choose positions of something that is computed? Shapes have none. */
function hasChoices({ graph }: ModelRecord): boolean {
  const others = constantsOf(graph);
  for (const { opType, outputs } of graph.nodes) if (opType === 'Shape') others.add(outputs[0] ?? '');
  const chooses = ({ opType }: NodeRecord): boolean => opType === 'Gather' || opType === 'Slice';
  return graph.nodes.some((node) => chooses(node) && !others.has(node.inputs[0] ?? ''));
}

/** Names of what the graph holds. */
function constantsOf({ initializers, nodes }: ModelRecord['graph']): Set<string> {
  const made = nodes.flatMap(({ opType, outputs }) => (opType === 'Constant' ? outputs : []));
  return new Set([...initializers.map(({ name }) => name), ...made]);
}
