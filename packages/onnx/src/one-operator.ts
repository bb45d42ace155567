/**
 * Graphs of one operator in plain JavaScript. Transformers.js builds such graphs itself: TopK where it samples, searches in beams or
 * ranks classes, MatMul where it makes a spectrogram. A page whose model runs in MSD would fetch all of ONNX Runtime for them.
 */
import { FLOAT32, INT64 } from './data-types.ts';
import { SessionStateError } from './errors.ts';
import type { OrtFeeds, OrtMetadata, OrtModule, OrtSession, OrtTensor } from './ort.ts';
import { readModel } from './read/model.ts';
import { bytesSource } from './read/source.ts';

/** What a session of ONNX Runtime has. */
type Session = Omit<OrtSession, 'run'> & {
  run(feeds: OrtFeeds, ...more: readonly unknown[]): Promise<OrtFeeds>;
};

/** A result before it is a tensor. */
type Computed = readonly [type: 'float32' | 'int64', data: Float32Array | BigInt64Array, dims: readonly number[]];

interface OneOperator {
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** `undefined`: ONNX Runtime's to compute, or to refuse. */
  compute(a: OrtTensor, b: OrtTensor): readonly Computed[] | undefined;
}

const OPERATORS: Readonly<Record<string, OneOperator>> = {
  TopK: { inputs: [FLOAT32, INT64], outputs: [FLOAT32, INT64], compute: topK },
  MatMul: { inputs: [FLOAT32, FLOAT32], outputs: [FLOAT32], compute: matMul },
};

/**
 * A session for such a graph; `undefined` for any other, which is ONNX Runtime's.
 *
 * @param model its bytes
 * @param stock makes ONNX Runtime's session for it, which computes what is not computed here: large or odd operands
 */
export function oneOperatorSession(
  { Tensor }: OrtModule,
  model: Uint8Array,
  stock: () => Promise<object>,
): object | undefined {
  const found = operatorOf(model);
  if (!found) return undefined;
  const { operator, inputMetadata, outputMetadata } = found;
  const inputNames = inputMetadata.map(({ name }) => name);
  const outputNames = outputMetadata.map(({ name }) => name);
  let whole: Promise<Session> | undefined;
  let isReleased = false;
  const session: Session = {
    inputNames,
    outputNames,
    inputMetadata,
    outputMetadata,
    async run(feeds, ...more) {
      if (isReleased) throw new SessionStateError('run: session, expected a live one, got one after release().');
      const [a, b] = inputNames.map((name) => feeds?.[name]);
      const isPlain = more.length === 0 && isOperand(a, operator.inputs[0]!) && isOperand(b, operator.inputs[1]!);
      const computed = isPlain ? operator.compute(a, b) : undefined;
      if (!computed) return (await (whole ??= stock() as Promise<Session>)).run(feeds, ...more);
      const tensors = computed.map((args) => new Tensor(...(args as unknown as [never, never, never])) as OrtTensor);
      return Object.fromEntries(tensors.map((tensor, i) => [outputNames[i]!, tensor]));
    },
    async release() {
      isReleased = true;
      await (await whole)?.release();
    },
    startProfiling() {},
    endProfiling() {},
  };
  return session;
}

const TYPES: ReadonlyMap<number, string> = /* @__PURE__ */ new Map([
  [FLOAT32, 'float32'],
  [INT64, 'int64'],
]);

/** The one operator of a graph that is nothing else: no constants, no attributes, operands and results are its inputs and outputs. */
function operatorOf(model: Uint8Array) {
  const graph = graphOf(model);
  const [node, ...others] = graph?.nodes ?? [];
  if (!graph || !node || others.length > 0 || graph.initializers.length > 0 || graph.sparse.length > 0)
    return undefined;
  const operator = Object.hasOwn(OPERATORS, node.opType) ? OPERATORS[node.opType] : undefined;
  if (!operator || node.domain !== '' || node.attributes.size > 0) return undefined;
  const metadataOf = (names: readonly string[], values: typeof graph.inputs, types: readonly number[]) => {
    const isSame = names.length === types.length && values.length === types.length;
    const isRight = isSame && values.every(({ name, type }, i) => name === names[i] && type.elemType === types[i]);
    if (!isRight) return undefined;
    return values.map(({ name, type: { elemType, dims } }): OrtMetadata => {
      const shape = (dims ?? []).map((dim) => dim ?? '');
      return { name, isTensor: true, type: TYPES.get(elemType)!, shape };
    });
  };
  const inputMetadata = metadataOf(node.inputs, graph.inputs, operator.inputs);
  const outputMetadata = metadataOf(node.outputs, graph.outputs, operator.outputs);
  return inputMetadata && outputMetadata ? { operator, inputMetadata, outputMetadata } : undefined;
}

function graphOf(model: Uint8Array) {
  try {
    const { graph, functions } = readModel(bytesSource(model));
    return functions.length === 0 ? graph : undefined;
  } catch {
    return undefined; // ONNX Runtime says what is wrong with it
  }
}

function isOperand(tensor: OrtTensor | undefined, elemType: number): tensor is OrtTensor {
  return tensor !== undefined && tensor.type === TYPES.get(elemType) && tensor.location === 'cpu';
}

/** From here on, all of a row is sorted: putting a value among so many others takes longer. */
const MANY = 1024;
/** Positions that fit beside 32 bits in a number. */
const MAX_WIDTH = 2 ** 21;

/** The `k` largest of each row, the first of equal ones first. @param x [..., n] @param count k, [1] */
function topK(x: OrtTensor, count: OrtTensor): readonly Computed[] | undefined {
  const n = x.dims.at(-1) ?? 0;
  const k = Number((count.data as BigInt64Array)[0]);
  const data = x.data as Float32Array;
  if (count.dims.length !== 1 || !(k > 0 && k <= n) || n >= MAX_WIDTH || hasNaN(data)) return undefined;
  const rows = data.length / n;
  const values = new Float32Array(rows * k);
  const indices = new BigInt64Array(rows * k);
  const pick = k < MANY ? best : sorted;
  for (let row = 0; row < rows; row++) {
    const one = data.subarray(row * n, row * n + n);
    const places = pick(one, k);
    for (let i = 0, at = row * k; i < k; i++, at++) {
      values[at] = one[places[i]!]!;
      indices[at] = BigInt(places[i]!);
    }
  }
  const dims = [...x.dims.slice(0, -1), k];
  return [
    ['float32', values, dims],
    ['int64', indices, dims],
  ];
}

function hasNaN(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (Number.isNaN(values[i])) return true;
  return false;
}

/** Places of the k largest: each value is put among those that are there. Vocabularies have 150,000, so a step is a comparison. */
function best(values: Float32Array, k: number): Int32Array {
  const places = new Int32Array(k);
  let length = 0;
  let least = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (length === k && value <= least) continue;
    if (length < k) length++;
    let at = length - 1;
    for (; at > 0 && values[places[at - 1]!]! < value; at--) places[at] = places[at - 1]!;
    places[at] = i;
    least = values[places[length - 1]!]!;
  }
  return places;
}

/** The same by sorting numbers that hold a value's bits, in order, above its place from the end. */
function sorted(values: Float32Array, k: number): Int32Array {
  const n = values.length;
  const plain = new Float32Array(n);
  for (let i = 0; i < n; i++) plain[i] = values[i]! + 0; // -0 is 0
  const bits = new Int32Array(plain.buffer);
  const keys = new Float64Array(n);
  // Bits of negative numbers grow the other way.
  for (let i = 0; i < n; i++) keys[i] = (bits[i]! < 0 ? -2147483648 - bits[i]! : bits[i]!) * MAX_WIDTH + (n - 1 - i);
  keys.sort();
  const places = new Int32Array(k);
  for (let i = 0; i < k; i++) {
    const key = keys[n - 1 - i]!;
    places[i] = n - 1 - (key - Math.floor(key / MAX_WIDTH) * MAX_WIDTH);
  }
  return places;
}

/** Products beyond take longer here than ONNX Runtime takes. */
const MOST_PRODUCTS = 2 ** 24;

/** a·b in float64, without the zeros of `a`: filters of a spectrogram are nearly all zeros. @param x [M, K] @param y [K, N] */
function matMul(x: OrtTensor, y: OrtTensor): readonly Computed[] | undefined {
  const [a, b] = [x.data as Float32Array, y.data as Float32Array];
  if (x.dims.length !== 2 || y.dims.length !== 2 || x.dims[1] !== y.dims[0]) return undefined;
  const [M, K, N] = [x.dims[0]!, x.dims[1]!, y.dims[1]!];
  let weights = 0;
  for (let i = 0; i < a.length; i++) if (a[i] !== 0) weights++;
  // Nothing times infinity is not nothing.
  if (weights * N > MOST_PRODUCTS || !isAllFinite(b)) return undefined;
  const c = new Float32Array(M * N);
  const sums = new Float64Array(N);
  for (let m = 0; m < M; m++) {
    sums.fill(0);
    for (let k = 0; k < K; k++) {
      const weight = a[m * K + k]!;
      if (weight === 0) continue;
      for (let n = 0, at = k * N; n < N; n++, at++) sums[n]! += weight * b[at]!;
    }
    c.set(sums, m * N);
  }
  return [['float32', c, [M, N]]];
}

function isAllFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false;
  return true;
}
