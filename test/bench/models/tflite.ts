/** A chain of fully connected layers as a TensorFlow Lite file, field by field after tensorflow/lite/schema/schema.fbs. */
import { Builder } from 'flatbuffers';
import { toFp16 } from '../../../packages/core/src/formats/fp16.ts';
import { type LayerWeights, nibbles } from './weights.ts';

const FULLY_CONNECTED = 9; // BuiltinOperator
const FULLY_CONNECTED_OPTIONS = 8; // BuiltinOptions
const BLOCKWISE_QUANTIZATION = 2; // QuantizationDetails
const SCHEMA_VERSION = 3;
const TENSOR_TYPE = { float32: 0, float16: 1, int8: 9, int4: 17 } as const;
/** Versions of FULLY_CONNECTED that first take these weights. */
const OP_VERSION: Record<LayerWeights['id'], number> = { fp32: 1, int8: 9, int4: 9, 'int4/32': 13, 'int8/32': 13 };
/** XNNPACK reads weights in whole vectors. */
const DATA_ALIGNMENT = 16;

type TensorType = keyof typeof TENSOR_TYPE;
type Offset = number;

/** Writes tables bottom-up, as flatbuffers want them. */
class Writer {
  readonly builder = new Builder(1 << 20);
  readonly #buffers: Offset[] = [];
  readonly #tensors: Offset[] = [];

  constructor() {
    this.#buffers.push(this.table(3, () => {})); // buffer 0 means "no data"
  }

  table(fields: number, fill: (b: Builder) => void): Offset {
    this.builder.startObject(fields);
    fill(this.builder);
    return this.builder.endObject();
  }

  vector(values: readonly number[], elementBytes: 4 | 8, add: (b: Builder, value: number) => void): Offset {
    this.builder.startVector(elementBytes, values.length, elementBytes);
    for (const value of values.toReversed()) add(this.builder, value);
    return this.builder.endVector();
  }

  ints = (values: readonly number[]): Offset => this.vector(values, 4, (b, value) => b.addInt32(value));
  offsets = (values: readonly Offset[]): Offset => this.vector(values, 4, (b, value) => b.addOffset(value));

  buffer(data: ArrayBufferView): number {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.builder.prep(DATA_ALIGNMENT, bytes.length);
    const vector = this.builder.createByteVector(bytes);
    this.#buffers.push(this.table(3, (b) => b.addFieldOffset(0, vector, 0)));
    return this.#buffers.length - 1;
  }

  /** @returns its index */
  tensor(name: string, shape: readonly number[], type: TensorType, buffer = 0, quantization?: Offset): number {
    const [dims, label] = [this.ints(shape), this.builder.createString(name)];
    this.#tensors.push(
      this.table(10, (b) => {
        b.addFieldOffset(0, dims, 0);
        b.addFieldInt8(1, TENSOR_TYPE[type], 0);
        b.addFieldInt32(2, buffer, 0);
        b.addFieldOffset(3, label, 0);
        if (quantization !== undefined) b.addFieldOffset(4, quantization, 0);
      }),
    );
    return this.#tensors.length - 1;
  }

  perChannel(scales: Float32Array): Offset {
    const values = this.vector([...scales], 4, (b, value) => b.addFloat32(value));
    const zeros = this.vector(new Array(scales.length).fill(0), 8, (b) => b.addInt64(0n));
    return this.table(7, (b) => {
      b.addFieldOffset(2, values, 0);
      b.addFieldOffset(3, zeros, 0);
    });
  }

  blockwise(scalesTensor: number, blockSize: number): Offset {
    const details = this.table(3, (b) => {
      b.addFieldInt32(0, scalesTensor, 0);
      b.addFieldInt32(1, -1, 0); // no zero points
      b.addFieldInt32(2, blockSize, 0);
    });
    return this.table(7, (b) => {
      b.addFieldInt8(4, BLOCKWISE_QUANTIZATION, 0);
      b.addFieldOffset(5, details, 0);
    });
  }

  /** @returns the index of the layer's weights */
  weights({ id, K, N, codes, scales, floats, blockSize }: LayerWeights, i: number): number {
    const name = `w${i}`;
    switch (id) {
      case 'fp32':
        return this.tensor(name, [N, K], 'float32', this.buffer(floats));
      case 'int8':
        return this.tensor(name, [N, K], 'int8', this.buffer(codes), this.perChannel(scales));
      case 'int4':
        return this.tensor(name, [N, K], 'int4', this.buffer(nibbles(codes, 0)), this.perChannel(scales));
      case 'int4/32': {
        const half = this.buffer(Uint16Array.from(scales, toFp16));
        const scalesTensor = this.tensor(`s${i}`, [N, K / blockSize!], 'float16', half);
        return this.tensor(
          name,
          [N, K],
          'int4',
          this.buffer(nibbles(codes, 0)),
          this.blockwise(scalesTensor, blockSize!),
        );
      }
      default:
        throw new RangeError(`tfliteChain: no TensorFlow Lite form for ${id} weights.`);
    }
  }

  finish(operators: readonly Offset[], input: number, output: number, opVersion: number): Uint8Array<ArrayBuffer> {
    const { builder } = this;
    const [tensors, inputs, outputs] = [this.offsets(this.#tensors), this.ints([input]), this.ints([output])];
    const [ops, main] = [this.offsets(operators), builder.createString('main')];
    const subgraph = this.table(5, (b) => {
      for (const [field, value] of [tensors, inputs, outputs, ops, main].entries()) b.addFieldOffset(field, value, 0);
    });
    const code = this.table(4, (b) => {
      b.addFieldInt8(0, FULLY_CONNECTED, 0);
      b.addFieldInt32(2, opVersion, 1);
      b.addFieldInt32(3, FULLY_CONNECTED, 0);
    });
    const [codes, subgraphs, buffers] = [this.offsets([code]), this.offsets([subgraph]), this.offsets(this.#buffers)];
    const model = this.table(5, (b) => {
      b.addFieldInt32(0, SCHEMA_VERSION, 0);
      b.addFieldOffset(1, codes, 0);
      b.addFieldOffset(2, subgraphs, 0);
      b.addFieldOffset(4, buffers, 0);
    });
    builder.finish(model, 'TFL3');
    return builder.asUint8Array() as Uint8Array<ArrayBuffer>;
  }
}

/** @returns the file's bytes; one input [M, K], one output [M, N] */
export function tfliteChain(layers: readonly LayerWeights[], M: number): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  const input = writer.tensor('x', [M, layers[0]!.K], 'float32');
  let current = input;
  const operators = layers.map((layer, i) => {
    const weights = writer.weights(layer, i);
    const output = writer.tensor(`y${i}`, [M, layer.N], 'float32');
    const [inputs, outputs] = [writer.ints([current, weights, -1]), writer.ints([output])]; // -1: no bias
    const options = writer.table(4, () => {});
    current = output;
    return writer.table(5, (b) => {
      b.addFieldInt32(0, 0, 0);
      b.addFieldOffset(1, inputs, 0);
      b.addFieldOffset(2, outputs, 0);
      b.addFieldInt8(3, FULLY_CONNECTED_OPTIONS, 0);
      b.addFieldOffset(4, options, 0);
    });
  });
  return writer.finish(operators, input, current, OP_VERSION[layers[0]!.id]);
}
