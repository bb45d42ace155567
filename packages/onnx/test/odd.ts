/**
 * Files that nobody writes on purpose: a graph of raw protobuf messages, in which every list may hold anything. What plain
 * onnxruntime-web makes of each is the oracle.
 */
import { type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { Message } from '../src/write/message.ts';
import { type Matrix, makeMatrix } from './models.ts';
import { floats, ort, session } from './ort.ts';

/** The matrix of every odd file, large enough that taking it pays: x [m, 64] -> [m, 64]. */
export const SIZE = 64;
export const matrix: Matrix = makeMatrix({ name: 'w', N: SIZE, K: SIZE });

export const op = (
  opType: string,
  inputs: string[],
  outputs: string[],
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({ opType, name: outputs[0] ?? '', inputs, outputs, attributes });

/** A float32 tensor of the file. */
export const filled = (name: string, dims: number[], value = 0.5): TensorSpec => ({
  name,
  dtype: 'float32',
  dims,
  data: new Float32Array(dims.reduce((product, dim) => product * dim, 1)).fill(value),
});

/** A TensorProto that says where its bytes lie. */
export function externalTensor(
  name: string,
  dims: readonly number[],
  entries: Readonly<Record<string, string | number>>,
  elemType = 1,
): Message {
  const message = new Message().ints(1, dims).int(2, elemType).string(8, name).int(14, 1);
  for (const [key, value] of Object.entries(entries))
    message.message(13, new Message().string(1, key).string(2, `${value}`));
  return message;
}

const x = { name: 'x', dtype: 'float32', dims: ['m', SIZE] } as const;
const y = { name: 'y', dtype: 'float32' } as const;

/** A graph around the product; what is given replaces. */
export function around(changes: Partial<GraphSpec> = {}): GraphSpec {
  return {
    nodes: [matrix.node('x', 'y')],
    initializers: matrix.initializers,
    inputs: [x],
    outputs: [y],
    ...changes,
  };
}

/** The encoded fields of a model, and further ones behind them: protobuf merges what comes twice, and appends to lists. */
export function withFields(
  graph: GraphSpec,
  model: (message: Message) => void,
  opsets?: Record<string, number>,
): Uint8Array {
  const bytes = writeModel({ graph, ...(opsets && { opsets }) });
  const more = new Message();
  model(more);
  const tail = more.finish();
  const out = new Uint8Array(bytes.length + tail.length);
  out.set(bytes);
  out.set(tail, bytes.length);
  return out;
}

/** What a module makes of a file. */
export interface Outcome {
  readonly stage: 'create' | 'run' | 'ran';
  readonly message: string;
  readonly name: string;
  readonly inputNames?: readonly string[];
  readonly outputNames?: readonly string[];
  readonly outputs?: ReadonlyMap<string, ort.Tensor>;
  readonly report?: ReturnType<typeof reported>;
}

const reported = (s: ort.InferenceSession) => (s as { report?: import('../src/report.ts').SessionReport }).report;

/** Creates a session and runs it on all-float feeds, or on those given. */
export async function outcomeOf(
  model: Uint8Array | string,
  provider: Parameters<typeof session>[1],
  options: ort.InferenceSession.SessionOptions = {},
  feeds?: (s: ort.InferenceSession) => Record<string, ort.Tensor>,
): Promise<Outcome> {
  let s: ort.InferenceSession;
  try {
    s = await session(model, provider, { logSeverityLevel: 4, ...options });
  } catch (error) {
    return { stage: 'create', message: (error as Error).message, name: (error as Error).name };
  }
  const { inputNames, outputNames } = s;
  try {
    const outputs = await s.run(feeds ? feeds(s) : feedsOf(s), { logSeverityLevel: 4 });
    const entries = new Map(Object.keys(outputs).map((name) => [name, outputs[name]!] as const));
    const report = reported(s);
    return {
      stage: 'ran',
      message: '',
      name: '',
      inputNames,
      outputNames,
      outputs: entries,
      ...(report && { report }),
    };
  } catch (error) {
    return { stage: 'run', message: (error as Error).message, name: (error as Error).name, inputNames, outputNames };
  } finally {
    await s.release();
  }
}

/** Seeded feeds for every float input; two rows where a size is open. */
export function feedsOf(s: ort.InferenceSession): Record<string, ort.Tensor> {
  const feeds: Record<string, ort.Tensor> = Object.create(null);
  for (const input of s.inputMetadata) {
    if (!input.isTensor) continue;
    const dims = input.shape.map((dim) => (typeof dim === 'number' && dim < 2 ** 31 ? dim : 2));
    const count = dims.reduce((product, dim) => product * dim, 1);
    const data = Float32Array.from({ length: count }, (_, i) => Math.sin(i + 1));
    if (input.type === 'float32') feeds[input.name] = new ort.Tensor('float32', data, dims);
    else if (input.type === 'bool') feeds[input.name] = new ort.Tensor('bool', new Uint8Array(count).fill(1), dims);
    else if (input.type === 'int64') feeds[input.name] = new ort.Tensor('int64', new BigInt64Array(count), dims);
    else throw new TypeError(`feeds: ${input.name} is ${input.type}`);
  }
  return feeds;
}

/** The largest relative difference of the float outputs of two runs; NaN where they are not alike at all. */
export function distance(a: Outcome, b: Outcome): number {
  let largest = 0;
  if (!a.outputs || !b.outputs || a.outputs.size !== b.outputs.size) return Number.NaN;
  for (const [name, tensor] of a.outputs) {
    const other = b.outputs.get(name);
    if (!other || other.type !== tensor.type || other.dims.join() !== tensor.dims.join()) return Number.NaN;
    if (tensor.type === 'string') {
      if (String(tensor.data) !== String(other.data)) return Number.NaN;
      continue;
    }
    const [left, right] = [floats(tensor), floats(other)];
    let scale = 1e-30;
    for (const value of left) scale = Math.max(scale, Math.abs(Number(value)));
    for (let i = 0; i < left.length; i++)
      largest = Math.max(largest, Math.abs(Number(left[i]) - Number(right[i])) / scale);
  }
  return largest;
}
