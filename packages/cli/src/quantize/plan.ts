/** What becomes of each float matrix of a model, before anything is read or written. */
import type { NodeRecord } from '@msd/onnx/model';
import { homeOf, nodeName, type OpenModel, type Scope } from '../edit/open-model.ts';
import { bitsOf, blockFor, type Choice, type Form } from './form.ts';
import type { CodeShape } from './matrix.ts';
import { isSameMatrix } from './same-matrix.ts';
import { type FloatMatrixOf, findTargets, floatBytes, type Refused, type Target } from './targets.ts';

/** Nodes that share a matrix. */
export interface Group {
  readonly matrix: FloatMatrixOf;
  readonly targets: Target[];
  /** The tensor's name and the nodes'. */
  readonly names: readonly string[];
}

/** A group that is to be quantized. */
export interface PlannedGroup extends Group {
  readonly shape: CodeShape;
  /** Bytes of codes, scales and zero points. */
  readonly byteLength: number;
}

export interface KeptGroup {
  readonly name: string;
  readonly reason: string;
}

export interface Plan {
  readonly groups: readonly PlannedGroup[];
  readonly kept: readonly KeptGroup[];
  /** Of all weights and nodes that rules may name. */
  readonly names: readonly string[];
  /** Bytes of the floats that go, as far as nobody else reads them. */
  readonly floatBytes: number;
  readonly byteLength: number;
  /** Weights in all groups. */
  readonly weights: number;
}

export interface PlanOptions {
  /** By the names of a matrix. @param isTable do nodes only look rows up? */
  readonly choose: (names: readonly string[], isTable: boolean) => Choice;
  /** Does a rule name it? Then it is taken even where it is unusual. */
  readonly isNamed: (names: readonly string[]) => boolean;
}

/** Rows shorter than this are padded to more than they save. */
const LEAST_K = 16;
const LEAST_TABLE = 2 ** 14;

export function planModel(model: OpenModel, { choose, isNamed }: PlanOptions): Plan {
  const { targets, refused } = findTargets(model);
  const kept: KeptGroup[] = refused.map(({ node, reason }: Refused) => ({ name: nodeName(node), reason }));
  const groups: PlannedGroup[] = [];
  const all = tied(grouped(targets));
  for (const group of all) {
    const { matrix, names } = group;
    const isTable = group.targets.every(({ kind }) => kind === 'Gather');
    const keep = (reason: string): void => void kept.push({ name: matrix.held.name, reason });
    if (isTable && !isNamed(names)) {
      // Positions, sines and cosines are small and exact; whoever wants them quantized names them.
      if (matrix.N * matrix.K < LEAST_TABLE || !group.targets.every(readsTokens)) continue;
    }
    const choice = choose(names, isTable);
    if (choice === 'keep') {
      keep('as asked');
      continue;
    }
    const planned = planGroup(group, choice);
    if (typeof planned === 'string') keep(planned);
    else groups.push(planned);
  }
  return withGroups({ kept, names: all.flatMap(({ names }) => names) }, groups);
}

/** A plan with these groups. */
export function withGroups({ kept, names }: Pick<Plan, 'kept' | 'names'>, groups: readonly PlannedGroup[]): Plan {
  const sum = (of: (group: PlannedGroup) => number): number => groups.reduce((total, group) => total + of(group), 0);
  return {
    ...{ groups, kept, names },
    floatBytes: sum(heldBytes),
    byteLength: sum(({ byteLength }) => byteLength),
    weights: sum(({ matrix }) => matrix.N * matrix.K),
  };
}

/** Of all tensors that a group takes the place of: a tied head may lie in the file a second time. */
function heldBytes({ targets }: PlannedGroup): number {
  const tensors = new Set(targets.map(({ matrix }) => matrix.held.tensor));
  return [...tensors].reduce((total, tensor) => total + floatBytes(tensor), 0);
}

function grouped(targets: readonly Target[]): Group[] {
  const byMatrix = new Map<Scope, Map<string, Target[]>>();
  for (const target of targets) {
    const { held, isTransposed, isHalf } = target.matrix;
    const key = JSON.stringify([held.name, isTransposed, isHalf, target.kind === 'Conv']);
    let keys = byMatrix.get(held.scope);
    if (!keys) byMatrix.set(held.scope, (keys = new Map()));
    const same = keys.get(key);
    if (same) same.push(target);
    else keys.set(key, [target]);
  }
  return [...byMatrix.values()].flatMap((keys) => [...keys.values()].map(groupOf));
}

function groupOf(targets: Target[]): Group {
  const { matrix } = targets[0]!;
  const names = new Set([...targets.map(({ node }) => node.name), matrix.held.name].filter((name) => name !== ''));
  return { matrix, targets, names: [...names] };
}

/** A table that is also a product's matrix, written a second time the other way round, is one of both. */
function tied(groups: readonly Group[]): Group[] {
  const isTable = ({ targets }: Group): boolean => targets.every(({ kind }) => kind === 'Gather');
  const products = groups.filter((group) => !isTable(group) && group.targets.every(({ kind }) => kind !== 'Conv'));
  const taken = new Set<Group>();
  const joined = new Map<Group, Group[]>();
  for (const table of groups.filter(isTable)) {
    const twin = products.find(({ matrix }) => isSameMatrix(table.matrix, matrix));
    if (!twin) continue;
    taken.add(table);
    joined.set(twin, [...(joined.get(twin) ?? []), table]);
  }
  return groups
    .filter((group) => !taken.has(group))
    .map((group) => {
      const tables = joined.get(group);
      if (!tables) return group;
      const { targets, names } = groupOf([...group.targets, ...tables.flatMap((table) => table.targets)]);
      return { matrix: group.matrix, targets, names: [...names, ...tables.flatMap((table) => table.names)] };
    });
}

/** Are its indices token ids: an input of the model that is not about positions? */
function readsTokens({ node, scope }: Target): boolean {
  let [at, name]: [Scope, string] = [scope, node.inputs[1] ?? ''];
  for (;;) {
    const home = homeOf(at, name);
    const maker: NodeRecord | undefined = home?.makers.get(name);
    if (!home) return false;
    if (!maker)
      return home.parent === undefined && home.graph.inputs.some((input) => input.name === name) && !/pos/i.test(name);
    if (!['Cast', 'Reshape', 'Squeeze', 'Unsqueeze', 'Identity', 'Flatten'].includes(maker.opType)) return false;
    [at, name] = [home, maker.inputs[0] ?? ''];
  }
}

/** How a group is kept, or why it stays floats. */
export function planGroup(group: Group, form: Form): PlannedGroup | string {
  const { matrix, targets } = group;
  const { N, K, isHalf, held } = matrix;
  const isConv = targets[0]!.kind === 'Conv';
  const hasTable = targets.some(({ kind }) => kind === 'Gather');
  if (K < LEAST_K) return `its rows are ${K} long: blocks have at least ${LEAST_K}`;
  const base = { ...form, bits: bitsOf(form), isHalf };
  const shape: CodeShape = isConv
    ? convolutionShape(base, K)
    : { ...base, blockSize: hasTable ? tableBlock(form, K) : blockFor(form, K), layout: 'blocks' };
  if (shape.blockSize === 0) return `rows of ${K} are no whole blocks, which a table needs`;
  const blocks = Math.ceil(K / shape.blockSize);
  const rowCodes = shape.layout === 'blocks' ? blocks * shape.blockSize : K;
  const zeroBytes = shape.isAsymmetric ? Math.ceil((N * blocks * shape.bits) / 8) : 0;
  const byteLength = (N * rowCodes * shape.bits) / 8 + N * blocks * (isHalf ? 2 : 4) + zeroBytes;
  const before = floatBytes(held.tensor);
  if (byteLength >= before) return `it would take ${Math.round(byteLength)} bytes instead of ${before}`;
  return { ...group, shape, byteLength };
}

/** Rows of a table have whole blocks. 0: they cannot. */
function tableBlock(form: Form, K: number): number {
  const block = blockFor(form, K);
  return [block, 32, 16].find((each) => each <= block && K % each === 0) ?? 0;
}

/** A scale for each block of a row that MSD's kernels have; for rows without such blocks one for the whole row. */
function convolutionShape(form: Form & Pick<CodeShape, 'bits' | 'isHalf'>, K: number): CodeShape {
  const wanted = blockFor(form, K);
  // There are no types of 2 bits that ONNX Runtime's DequantizeLinear takes.
  const isSmall = form.bits === 2;
  const bits = isSmall ? 4 : form.bits;
  const format = isSmall ? 'int4' : form.format;
  const divisor = Math.min(wanted, K & -K);
  if (divisor >= (bits === 4 ? 16 : 32)) return { ...form, format, bits, blockSize: divisor, layout: 'elements' };
  // Few bits with one scale for a whole row lose too much, and odd rows would not begin with a byte.
  return {
    format: 'int8',
    bits: 8,
    isAsymmetric: form.isAsymmetric,
    isHalf: form.isHalf,
    blockSize: K,
    layout: 'elements',
  };
}
