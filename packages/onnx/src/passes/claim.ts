/**
 * Which nodes MSD runs itself. Pure: reads the graph and its constants, never touches ONNX Runtime or a kernel.
 * Every node that is not claimed has a written reason, which ends up in the session's report.
 */
import { badScale } from '@msd/core';
import { dataTypeName, FLOAT32, UINT8 } from '../data-types.ts';
import { OnnxFormatError } from '../errors.ts';
import { describeNode, type Graph, type GraphNode } from '../ir/graph.ts';
import { elementCount, type TensorRef, tensorFloats, tensorRange } from '../read/tensor.ts';

/** A com.microsoft MatMulNBits that becomes an MSD matmul: Y = A · Wᵀ (+ bias). */
export interface Claim {
  readonly kind: 'matmul';
  readonly format: 'int2' | 'int4' | 'int8';
  readonly N: number;
  readonly K: number;
  readonly blockSize: number;
  /** Value name of A. */
  readonly x: string;
  /** Value name of Y. */
  readonly y: string;
  readonly data: TensorRef;
  readonly scales: TensorRef;
  readonly zeroPoints: TensorRef | undefined;
  /** A constant, or the name of a value that a run computes. */
  readonly bias: TensorRef | string | undefined;
}

/** Why a node is ONNX Runtime's. */
export interface Refusal {
  readonly kind: 'refusal';
  readonly reason: string;
}

/** Newest operator set that this version was written against; beyond it nothing is claimed. */
const NEWEST_OPSET = 27;

/** By the attribute `bits`. */
const FORMATS: ReadonlyMap<number, Claim['format']> = /* @__PURE__ */ new Map([
  [2, 'int2'],
  [4, 'int4'],
  [8, 'int8'],
]);

const KNOWN_ATTRIBUTES: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'K',
  'N',
  'bits',
  'block_size',
  'accuracy_level',
  'weight_prepacked',
]);

/**
 * Decides for every node.
 *
 * @throws {@link OnnxFormatError} naming the node when its tensors contradict its attributes.
 */
export function claim(graph: Graph): Map<GraphNode, Claim | Refusal> {
  const standard = graph.opsets.get('') ?? 1;
  const scratch: Scratch = { bytes: undefined };
  const result = new Map<GraphNode, Claim | Refusal>();
  for (const node of graph.nodes) {
    if (node.domain !== 'com.microsoft' || node.opType !== 'MatMulNBits') {
      result.set(node, refuse('op is not claimed by this version'));
    } else if (standard > NEWEST_OPSET) {
      result.set(node, refuse(`opset ${standard} is newer than this version knows (${NEWEST_OPSET})`));
    } else result.set(node, claimMatMulNBits(graph, node, scratch));
  }
  return result;
}

/** A buffer that the scale checks share, so that a file's scales pass through one piece of memory. */
interface Scratch {
  bytes: Uint8Array | undefined;
}

function refuse(reason: string): Refusal {
  return { kind: 'refusal', reason };
}

function claimMatMulNBits(graph: Graph, node: GraphNode, scratch: Scratch): Claim | Refusal {
  const version = graph.opsets.get('com.microsoft') ?? 1;
  if (version !== 1) return refuse(`MatMulNBits: version ${version} of com.microsoft is not known`);
  for (const name of node.attributes.keys()) {
    if (!KNOWN_ATTRIBUTES.has(name)) return refuse(`MatMulNBits: attribute '${name}' is not known`);
  }
  const K = intAttribute(node, 'K') ?? 0;
  const N = intAttribute(node, 'N') ?? 0;
  const bits = intAttribute(node, 'bits') ?? 4;
  const blockSize = intAttribute(node, 'block_size') ?? 0;
  if (!(K > 0 && N > 0)) return refuse(`MatMulNBits: K ${K} and N ${N} are not both positive`);
  const format = FORMATS.get(bits);
  if (format === undefined) return refuse(`MatMulNBits: ${bits} bits`);
  const smallest = bits === 4 ? 16 : 32;
  if (!(blockSize >= smallest) || !Number.isInteger(Math.log2(blockSize))) {
    return refuse(`MatMulNBits: block_size ${blockSize} is not a power of two of at least ${smallest}`);
  }
  if ((intAttribute(node, 'weight_prepacked') ?? 0) !== 0) return refuse('MatMulNBits: weights are prepacked');

  const [x = '', b = '', s = '', z = '', g = '', biasName = ''] = node.inputs;
  const y = node.outputs[0] ?? '';
  if (x === '' || y === '') return refuse('MatMulNBits: A or Y is omitted');
  if (g !== '') return refuse('MatMulNBits: g_idx is given');
  const data = constantTensor(graph, b);
  const scales = constantTensor(graph, s);
  const zeroPoints = constantTensor(graph, z);
  if (!data) return refuse('MatMulNBits: B is not constant');
  if (!scales) return refuse('MatMulNBits: scales are not constant');
  if (z !== '' && !zeroPoints) return refuse('MatMulNBits: zero points are not constant');
  if (data.elemType !== UINT8) return refuse(`MatMulNBits: B is ${dataTypeName(data.elemType)}`);
  if (scales.elemType !== FLOAT32) return refuse(`MatMulNBits: scales are ${dataTypeName(scales.elemType)}`);
  if (zeroPoints && zeroPoints.elemType !== UINT8) {
    return refuse(`MatMulNBits: zero points are ${dataTypeName(zeroPoints.elemType)}`);
  }

  const blocks = Math.ceil(K / blockSize);
  const zeroBytes = Math.ceil((blocks * bits) / 8);
  checkCount(node, 'B', data, N * blocks * ((blockSize * bits) / 8));
  checkCount(node, 'scales', scales, N * blocks);
  if (zeroPoints) checkCount(node, 'zero points', zeroPoints, N * zeroBytes);
  if (!sameDims(data.dims, [N, blocks, (blockSize * bits) / 8])) {
    return refuse(`MatMulNBits: B has shape [${data.dims.join(', ')}]`);
  }
  if (!oneOrTwo(scales.dims, N, blocks)) return refuse(`MatMulNBits: scales have shape [${scales.dims.join(', ')}]`);
  if (zeroPoints && !oneOrTwo(zeroPoints.dims, N, zeroBytes)) {
    return refuse(`MatMulNBits: zero points have shape [${zeroPoints.dims.join(', ')}]`);
  }
  checkType(graph, node, 'A', x, K);
  checkType(graph, node, 'Y', y, N);
  const bias = claimBias(graph, node, biasName, N);
  if (typeof bias === 'object' && 'kind' in bias) return bias;

  const bad = refusedScale(scales, scratch);
  if (bad !== undefined) return refuse(`MatMulNBits: a scale is ${bad}, not below 2^90`);
  tensorRange(data);
  return { kind: 'matmul', format, N, K, blockSize, x, y, data, scales, zeroPoints, bias };
}

function claimBias(graph: Graph, node: GraphNode, name: string, N: number): TensorRef | string | undefined | Refusal {
  if (name === '') return undefined;
  const constant = graph.constants.get(name);
  if (!constant) {
    checkType(graph, node, 'bias', name, N);
    return name;
  }
  if (constant.kind !== 'tensor') return refuse('MatMulNBits: bias is not a tensor');
  const { tensor } = constant;
  if (tensor.elemType !== FLOAT32) return refuse(`MatMulNBits: bias is ${dataTypeName(tensor.elemType)}`);
  checkCount(node, 'bias', tensor, N);
  return tensor.dims.length === 1 ? tensor : refuse(`MatMulNBits: bias has shape [${tensor.dims.join(', ')}]`);
}

function intAttribute(node: GraphNode, name: string): number | undefined {
  const attribute = node.attributes.get(name);
  if (attribute === undefined) return undefined;
  if (attribute.kind !== 'int') {
    throw new OnnxFormatError(
      `claim: ${describeNode(node)}: attribute '${name}', expected int, got ${attribute.kind}.`,
    );
  }
  return attribute.value;
}

function constantTensor(graph: Graph, name: string): TensorRef | undefined {
  const constant = graph.constants.get(name);
  return constant?.kind === 'tensor' ? constant.tensor : undefined;
}

function checkCount(node: GraphNode, what: string, tensor: TensorRef, expected: number): void {
  const count = elementCount(tensor);
  if (count !== expected) {
    throw new OnnxFormatError(
      `claim: ${describeNode(node)}: ${what} '${tensor.name}', expected ${expected} elements, got ${count} in [${tensor.dims.join(', ')}].`,
    );
  }
}

/** Declared types may be absent, but not contradict the node. */
function checkType(graph: Graph, node: GraphNode, what: string, name: string, last: number): void {
  const type = graph.types.get(name);
  if (!type || type.kind === 'unknown') return;
  const contradiction = (expected: string, got: string): never => {
    throw new OnnxFormatError(`claim: ${describeNode(node)}: ${what} '${name}', expected ${expected}, got ${got}.`);
  };
  if (type.kind !== 'tensor') contradiction('a tensor', type.kind);
  if (type.elemType !== FLOAT32 && type.elemType !== 0) contradiction('float32', dataTypeName(type.elemType));
  const dim = type.dims?.at(-1);
  if (type.dims?.length === 0) contradiction('at least one dimension', 'a scalar');
  if (typeof dim === 'number' && dim !== last) contradiction(`a last dimension of ${last}`, `${dim}`);
}

function sameDims(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

function oneOrTwo(dims: readonly number[], rows: number, columns: number): boolean {
  return dims.length === 1 || sameDims(dims, [rows, columns]);
}

/** The first scale that @msd/core would refuse. */
function refusedScale(scales: TensorRef, scratch: Scratch): number | undefined {
  const range = tensorRange(scales);
  if (range && !range.source.bytes && (scratch.bytes?.byteLength ?? 0) < range.length) {
    scratch.bytes = new Uint8Array(range.length);
  }
  const values = tensorFloats(scales, scratch.bytes);
  const at = badScale(values);
  return at < 0 ? undefined : values[at];
}
