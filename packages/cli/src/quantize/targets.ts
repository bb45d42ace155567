/** Which nodes of a model multiply by float weights of the file, or look rows of them up. */
import { dataTypeName, FLOAT16, FLOAT32, type NodeRecord, type TensorRef } from '@msd/onnx/model';
import {
  floatOf,
  type Held,
  homeOf,
  intOf,
  intsOf,
  type OpenModel,
  type Scope,
  tensorNamed,
} from '../edit/open-model.ts';

/** A matrix [N, K] that nodes are made with. */
export interface FloatMatrixOf {
  /** What holds it, and where; nodes that turn it may lie between. */
  readonly held: Held;
  readonly N: number;
  readonly K: number;
  /** The file has [K, N]. */
  readonly isTransposed: boolean;
  /** The element type that nodes see: that of activations and scales. */
  readonly isHalf: boolean;
}

export interface Target {
  readonly kind: 'MatMul' | 'Gemm' | 'Conv' | 'Gather';
  readonly node: NodeRecord;
  readonly scope: Scope;
  readonly matrix: FloatMatrixOf;
}

/** A node that could have been one, and why it is not. */
export interface Refused {
  readonly node: NodeRecord;
  readonly reason: string;
}

/** Finds them, in the order of the file. */
export function findTargets(model: OpenModel): { readonly targets: Target[]; readonly refused: Refused[] } {
  const targets: Target[] = [];
  const refused: Refused[] = [];
  for (const scope of model.scopes)
    for (const node of scope.graph.nodes) {
      const found = node.domain === '' ? FINDERS[node.opType]?.(scope, node) : undefined;
      if (typeof found === 'string') refused.push({ node, reason: found });
      else if (found) targets.push({ kind: node.opType as Target['kind'], node, scope, matrix: found });
    }
  return { targets, refused };
}

/** The matrix, why it is none that can be quantized, or nothing where there are no weights at all. */
type Finder = (scope: Scope, node: NodeRecord) => FloatMatrixOf | string | undefined;

const FINDERS: Readonly<Record<string, Finder>> = {
  MatMul: (scope, node) => {
    const [a = '', b = ''] = node.inputs;
    if (floatsNamed(scope, a)) return 'its weights are the first operand';
    return matrixOf(scope, b, true);
  },
  Gemm: (scope, node) => {
    if (intOf(node, 'transA', 0) !== 0) return floatsNamed(scope, node.inputs[1] ?? '') && 'A is transposed';
    const beta = floatOf(node, 'beta', 1);
    if (beta !== 1 && (node.inputs[2] ?? '') !== '' && !floatsNamed(scope, node.inputs[2]!)) return `beta is ${beta}`;
    return matrixOf(scope, node.inputs[1] ?? '', intOf(node, 'transB', 0) === 0);
  },
  Conv: (scope, node) => {
    const found = floatsNamed(scope, node.inputs[1] ?? '');
    if (!found) return undefined;
    if (found.isTurned) return 'its weights are transposed';
    const { dims } = found.held.tensor;
    if (intOf(node, 'group', 1) !== 1) return `${intOf(node, 'group', 1)} groups`;
    if (dims.length < 3) return `weights have shape [${dims.join(', ')}]`;
    const [N = 0, ...rest] = dims;
    const K = rest.reduce((product, dim) => product * dim, 1);
    return N * K === 0 ? 'weights are empty' : { ...found, N, K, isTransposed: false };
  },
  Gather: (scope, node) => {
    if (intOf(node, 'axis', 0) !== 0) return undefined;
    const found = floatsNamed(scope, node.inputs[0] ?? '');
    if (found?.held.tensor.dims.length !== 2) return undefined;
    if (found.isTurned) return 'its table is transposed';
    const [N = 0, K = 0] = found.held.tensor.dims;
    return N * K === 0 ? undefined : { ...found, N, K, isTransposed: false };
  },
};

/** @param isKN do nodes see [K, N]? */
function matrixOf(scope: Scope, name: string, isKN: boolean): FloatMatrixOf | string | undefined {
  const found = floatsNamed(scope, name);
  if (!found) return undefined;
  const { dims } = found.held.tensor;
  if (dims.length !== 2) return `weights have shape [${dims.join(', ')}]`;
  const isTransposed = isKN !== found.isTurned;
  const [K, N] = isTransposed ? (dims as [number, number]) : ([dims[1]!, dims[0]!] as const);
  return N * K === 0 ? 'weights are empty' : { ...found, N, K, isTransposed };
}

interface Found {
  readonly held: Held;
  readonly isHalf: boolean;
  /** Do nodes see a matrix the other way round? */
  readonly isTurned: boolean;
}

/** Floats of the file behind a name, through nodes that hand them on. */
function floatsNamed(scope: Scope, name: string): Found | undefined {
  let [at, of, isTurned]: [Scope, string, boolean] = [scope, name, false];
  let seen: number | undefined;
  for (;;) {
    const held = tensorNamed(at, of);
    if (held) {
      const { elemType } = held.tensor;
      if (!isFloat(elemType)) return undefined;
      return { held, isTurned, isHalf: (seen ?? elemType) === FLOAT16 };
    }
    const home = homeOf(at, of);
    const maker = home?.makers.get(of);
    if (!home || !maker || maker.domain !== '') return undefined;
    if (maker.opType === 'Transpose') {
      if (intsOf(maker, 'perm')?.join() !== '1,0') return undefined;
      isTurned = !isTurned;
    } else if (maker.opType === 'Cast') {
      const to = intOf(maker, 'to', 0);
      if (!isFloat(to)) return undefined;
      seen ??= to;
    } else if (maker.opType !== 'Identity') return undefined;
    [at, of] = [home, maker.inputs[0] ?? ''];
  }
}

const isFloat = (elemType: number): boolean => elemType === FLOAT32 || elemType === FLOAT16;

/** Bytes that a tensor's elements take. */
export function floatBytes({ dims, elemType }: TensorRef): number {
  return dims.reduce((product, dim) => product * dim, dataTypeName(elemType) === 'float16' ? 2 : 4);
}
