/** Float graphs of images, and what static quantization makes of them: QuantizeLinear and DequantizeLinear around every node, or operators of codes. */
import type { AttributeSpec, GraphSpec, NodeSpec, TensorSpec } from '../src/write/index.ts';
import { writeModel } from '../src/write/index.ts';
import { gaussian, random } from './models.ts';
import { floats, type ort, session, tensor } from './ort.ts';

const count = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);
const op = (
  opType: string,
  inputs: string[],
  output: string,
  attributes: Record<string, AttributeSpec> = {},
): NodeSpec => ({ opType, name: output, inputs, outputs: [output], attributes });

/** Nodes and tensors that are not encoded yet. */
interface Graph extends GraphSpec {
  readonly nodes: readonly NodeSpec[];
  readonly initializers: readonly TensorSpec[];
}

/** A float network on images [1, 3, size, size], to scores of 10 classes. */
export interface Network {
  readonly graph: Graph;
  readonly size: number;
  /** Multiplications of products, by node. */
  readonly macs: ReadonlyMap<string, number>;
}

class Builder {
  readonly nodes: NodeSpec[] = [];
  readonly initializers: TensorSpec[] = [];
  readonly macs = new Map<string, number>();
  readonly #next: () => number;
  #count = 0;

  constructor(seed: number) {
    this.#next = random(seed);
  }

  node(opType: string, inputs: string[], attributes: Record<string, AttributeSpec> = {}): string {
    const name = `${opType}_${this.#count++}`;
    this.nodes.push(op(opType, inputs, name, attributes));
    return name;
  }

  floats(dims: number[], deviation: number): string {
    const name = `w_${this.#count++}`;
    const data = gaussian(this.#next, count(dims)).map((v) => v * deviation);
    this.initializers.push({ name, dtype: 'float32', dims, data });
    return name;
  }

  conv(x: string, from: number, to: number, kernel: number, stride: number, size: number, group = 1): string {
    const K = (from / group) * kernel * kernel;
    const w = this.floats([to, from / group, kernel, kernel], Math.sqrt(2 / K));
    const b = this.floats([to], 0.1);
    const pad = (kernel - 1) >> 1;
    const y = this.node('Conv', [x, w, b], {
      kernel_shape: { ints: [kernel, kernel] },
      strides: { ints: [stride, stride] },
      pads: { ints: [pad, pad, pad, pad] },
      dilations: { ints: [1, 1] },
      group: { int: group },
    });
    this.macs.set(y, K * to * (size / stride) ** 2);
    return y;
  }

  relu = (x: string): string => this.node('Relu', [x]);

  head(x: string, channels: number): string {
    const pooled = this.node('GlobalAveragePool', [x]);
    const flat = this.node('Flatten', [pooled], { axis: { int: 1 } });
    const w = this.floats([10, channels], Math.sqrt(1 / channels));
    const y = this.node('Gemm', [flat, w, this.floats([10], 0.1)], { transB: { int: 1 } });
    this.macs.set(y, 10 * channels);
    return y;
  }

  network(y: string, size: number): Network {
    const { nodes, initializers, macs } = this;
    const inputs = [{ name: 'x', dtype: 'float32' as const, dims: ['batch', 3, size, size] }];
    const outputs = [{ name: y, dtype: 'float32' as const, dims: ['batch', 10] }];
    return { graph: { nodes, initializers, inputs, outputs }, size, macs };
  }
}

/** Convolutions 3x3 with shortcuts, a pool of the largest, branches that are put together. */
export function residualNetwork(size = 32, width = 16, seed = 5): Network {
  const b = new Builder(seed);
  let x = b.relu(b.conv('x', 3, width, 3, 1, size));
  x = b.node('MaxPool', [x], {
    kernel_shape: { ints: [3, 3] },
    strides: { ints: [2, 2] },
    pads: { ints: [1, 1, 1, 1] },
  });
  let [own, channels] = [size / 2, width];
  for (const stride of [1, 2, 2]) {
    const to = stride === 1 ? channels : 2 * channels;
    const inner = b.relu(b.conv(x, channels, to, 3, stride, own));
    const outer = b.conv(inner, to, to, 3, 1, own / stride);
    const shortcut = stride === 1 ? x : b.conv(x, channels, to, 1, stride, own);
    x = b.relu(b.node('Add', [outer, shortcut]));
    own /= stride;
    channels = to;
  }
  const parts = [1, 3].map((kernel) => b.relu(b.conv(x, channels, channels, kernel, 1, own)));
  x = b.node('Concat', parts, { axis: { int: 1 } });
  return b.network(b.head(x, 2 * channels), size);
}

/** Inverted bottlenecks: 1x1, a group for each channel, 1x1, with gates of channels. */
export function mobileNetwork(size = 32, width = 16, seed = 6): Network {
  const b = new Builder(seed);
  let x = b.relu(b.conv('x', 3, width, 3, 2, size));
  let [own, channels] = [size / 2, width];
  for (const stride of [1, 2, 1, 2]) {
    const wide = 4 * channels;
    const to = stride === 1 ? channels : 2 * channels;
    let y = b.relu(b.conv(x, channels, wide, 1, 1, own));
    y = b.relu(b.conv(y, wide, wide, 3, stride, own, wide));
    if (stride === 2) {
      const squeezed = b.relu(b.conv(b.node('GlobalAveragePool', [y]), wide, 8, 1, 1, 1));
      y = b.node('Mul', [y, b.node('Sigmoid', [b.conv(squeezed, 8, wide, 1, 1, 1)])]);
    }
    y = b.conv(y, wide, to, 1, 1, own / stride);
    x = stride === 1 ? b.node('Add', [x, y]) : y;
    own /= stride;
    channels = to;
  }
  return b.network(b.head(x, channels), size);
}

export interface StaticOptions {
  readonly activations: 'uint8' | 'int8';
  readonly weights: 'uint8' | 'int8';
  readonly perChannel: boolean;
  /** Pairs of QuantizeLinear and DequantizeLinear, or operators of codes. */
  readonly form: 'pairs' | 'operators';
}

interface Coding {
  readonly scale: string;
  readonly zero: string;
  readonly step: number;
}

/** An image of the kind that ranges are taken from. */
export const image = ({ size }: Network, seed: number, batch = 1): ort.Tensor =>
  tensor(gaussian(random(seed), batch * 3 * size * size), [batch, 3, size, size]);

/** Least and most of every value of a float graph. */
async function ranges(network: Network): Promise<Map<string, readonly [number, number]>> {
  const { graph } = network;
  const names = graph.nodes.map(({ outputs }) => outputs[0]!);
  const outputs = names.map((name) => ({ name, dtype: 'float32' as const }));
  const s = await session(writeModel({ opsets: { '': 13 }, graph: { ...graph, outputs } }), 'wasm');
  const x = image(network, 100);
  const results = await s.run({ x });
  await s.release();
  return new Map(
    ['x', ...names].map((name) => {
      const values = name === 'x' ? floats(x) : floats(results[name]);
      return [name, [values.reduce((a, b) => Math.min(a, b), 0), values.reduce((a, b) => Math.max(a, b), 0)]];
    }),
  );
}

/** The network as a float file. */
export const floatFile = ({ graph }: Network): Uint8Array => writeModel({ opsets: { '': 13 }, graph });

/** The network as static quantization writes it, with ranges of one image. */
export async function quantizeStatic(network: Network, options: StaticOptions): Promise<Uint8Array> {
  return new Quantizer(await ranges(network), options).write(network.graph);
}

const KEEPS_CODES: ReadonlySet<string> = new Set(['MaxPool', 'Flatten']);

class Quantizer {
  readonly #ranges: Map<string, readonly [number, number]>;
  readonly #options: StaticOptions;
  readonly #initializers: TensorSpec[] = [];
  readonly #nodes: NodeSpec[] = [];
  readonly #codings = new Map<string, Coding>();
  /** Values by what holds them in the file: a Relu that codes do anyway is gone. */
  readonly #codes = new Map<string, string>();

  constructor(range: Map<string, readonly [number, number]>, options: StaticOptions) {
    this.#ranges = range;
    this.#options = options;
  }

  #tensor(name: string, spec: Omit<TensorSpec, 'name'>): string {
    this.#initializers.push({ name, ...spec });
    return name;
  }

  /** Scale and zero point of activations. */
  #codingOf(value: string): Coding {
    let coding = this.#codings.get(value);
    if (!coding) {
      const { activations } = this.#options;
      const [low, high] = this.#ranges.get(value)!;
      const step = Math.fround((high - low) / 255 || 1);
      const zero = Math.round(-low / step) - (activations === 'int8' ? 128 : 0);
      const data = activations === 'int8' ? Int8Array.of(zero) : Uint8Array.of(zero);
      coding = {
        scale: this.#tensor(`${value}_scale`, { dtype: 'float32', dims: [], data: Float32Array.of(step) }),
        zero: this.#tensor(`${value}_zero`, { dtype: activations, dims: [], data }),
        step,
      };
      this.#codings.set(value, coding);
    }
    return coding;
  }

  /** Codes, scales and zero points of weights [N, …], and how large their steps are. */
  #weights({ name, dims, data }: TensorSpec): { names: string[]; steps: Float32Array } {
    const { weights, perChannel } = this.#options;
    const values = data as Float32Array;
    const N = perChannel ? dims[0]! : 1;
    const per = values.length / N;
    const isSigned = weights === 'int8';
    const steps = Float32Array.from({ length: N }, (_, n) => {
      const own = values.subarray(n * per, (n + 1) * per);
      return own.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127 || 1;
    });
    const zero = isSigned ? 0 : 121;
    const least = isSigned ? -128 : 0;
    const of = (length: number, code: (i: number) => number): Int8Array | Uint8Array => {
      const codes = Array.from({ length }, (_, i) => Math.min(least + 255, Math.max(least, code(i))));
      return isSigned ? Int8Array.from(codes) : Uint8Array.from(codes);
    };
    const own = perChannel ? [N] : [];
    const names = [
      this.#tensor(`${name}_codes`, {
        dtype: weights,
        dims,
        data: of(values.length, (i) => Math.round(values[i]! / steps[Math.floor(i / per)]!) + zero),
      }),
      this.#tensor(`${name}_scale`, { dtype: 'float32', dims: own, data: steps }),
      this.#tensor(`${name}_zero`, { dtype: weights, dims: own, data: of(N, () => zero) }),
    ];
    return { names, steps };
  }

  #bias({ name, dims, data }: TensorSpec, step: number, steps: Float32Array): { codes: string; scales: Float32Array } {
    const scales = steps.map((own) => own * step);
    const values = data as Float32Array;
    const codes = Int32Array.from(values, (value, n) => Math.round(value / scales[scales.length === 1 ? 0 : n]!));
    return { codes: this.#tensor(`${name}_codes`, { dtype: 'int32', dims, data: codes }), scales };
  }

  write({ nodes, initializers, inputs, outputs }: Graph): Uint8Array {
    const constants = new Map(initializers.map((each) => [each.name, each]));
    this.#quantize('x', 'x');
    for (const node of nodes) {
      const [y = ''] = node.outputs;
      const [x = ''] = node.inputs;
      // Codes from 0 up have nothing below 0.
      const relu = nodes.find((each) => each.opType === 'Relu' && each.inputs[0] === y);
      if (relu) this.#ranges.set(y, this.#ranges.get(relu.outputs[0]!)!);
      if (node.opType === 'Relu') {
        this.#codes.set(y, this.#codes.get(x)!);
        this.#codings.set(y, this.#codingOf(x));
        continue;
      }
      if (KEEPS_CODES.has(node.opType)) this.#codings.set(y, this.#codingOf(x));
      if (this.#options.form === 'pairs') this.#pair(node, constants);
      else this.#operator(node, constants);
    }
    const [{ name }] = outputs as [{ name: string }];
    this.#nodes.push(this.#dequantize(name, `${name}_out`));
    return writeModel({
      opsets: { '': 13, 'com.microsoft': 1 },
      graph: {
        nodes: this.#nodes,
        initializers: this.#initializers,
        inputs,
        outputs: [{ ...outputs[0]!, name: `${name}_out` }],
      },
    });
  }

  #quantize(value: string, floatName: string): void {
    const { scale, zero } = this.#codingOf(value);
    this.#codes.set(value, `${value}_codes`);
    this.#nodes.push(op('QuantizeLinear', [floatName, scale, zero], `${value}_codes`));
  }

  #dequantize(value: string, floatName: string): NodeSpec {
    const { scale, zero } = this.#codingOf(value);
    return op('DequantizeLinear', [this.#codes.get(value)!, scale, zero], floatName);
  }

  #pair(node: NodeSpec, constants: ReadonlyMap<string, TensorSpec>): void {
    const [y = ''] = node.outputs;
    const [x = '', w = '', b = ''] = node.inputs;
    const isProduct = constants.has(w);
    const read = (value: string): string => {
      const name = `${value}_for_${y}`;
      this.#nodes.push(this.#dequantize(value, name));
      return name;
    };
    let inputs: string[];
    if (isProduct) {
      const { names, steps } = this.#weights(constants.get(w)!);
      const bias = this.#bias(constants.get(b)!, this.#codingOf(x).step, steps);
      const dims = steps.length === 1 ? [] : [steps.length];
      const scales = this.#tensor(`${b}_scale`, { dtype: 'float32', dims, data: bias.scales });
      const axis: Record<string, AttributeSpec> = steps.length === 1 ? {} : { axis: { int: 0 } };
      this.#nodes.push(op('DequantizeLinear', names, `${w}_real`, axis));
      this.#nodes.push(op('DequantizeLinear', [bias.codes, scales], `${b}_real`, axis));
      inputs = [read(x), `${w}_real`, `${b}_real`];
    } else inputs = node.inputs.map(read);
    this.#nodes.push({ ...node, inputs, outputs: [`${y}_raw`] });
    this.#quantize(y, `${y}_raw`);
  }

  #operator(node: NodeSpec, constants: ReadonlyMap<string, TensorSpec>): void {
    const [y = ''] = node.outputs;
    const [x = '', w = '', b = ''] = node.inputs;
    const coded = (value: string): string[] => {
      const { scale, zero } = this.#codingOf(value);
      return [this.#codes.get(value)!, scale, zero];
    };
    const [, ...result] = [this.#codes.set(y, `${y}_codes`), ...coded(y).slice(1)] as [unknown, string, string];
    const add = (opType: string, inputs: string[], more: Record<string, AttributeSpec> = {}): void => {
      const domain = opType === 'QLinearConv' || KEEPS_CODES.has(opType) ? {} : { domain: 'com.microsoft' };
      const attributes = { ...node.attributes, ...more };
      this.#nodes.push({ ...node, ...domain, opType, inputs, outputs: [`${y}_codes`], attributes });
    };
    if (KEEPS_CODES.has(node.opType)) add(node.opType, [this.#codes.get(x)!]);
    else if (node.opType === 'Concat') add('QLinearConcat', [...result, ...node.inputs.flatMap(coded)]);
    else if (constants.has(w)) {
      const { names, steps } = this.#weights(constants.get(w)!);
      const { codes } = this.#bias(constants.get(b)!, this.#codingOf(x).step, steps);
      if (node.opType === 'Conv') add('QLinearConv', [...coded(x), ...names, ...result, codes]);
      else add('QGemm', [...coded(x), ...names, codes, ...result], { alpha: { float: 1 } });
    } else {
      const isPool = node.opType === 'GlobalAveragePool';
      add(
        `QLinear${node.opType}`,
        [...node.inputs.flatMap(coded), ...result],
        isPool ? { channels_last: { int: 0 } } : {},
      );
    }
  }
}
