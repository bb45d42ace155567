/**
 * Rewrites a float model into the `q8` form of the hub (dynamic int8), as ONNX Runtime's quantizer writes it: every MatMul with a
 * constant matrix [K, N] becomes
 *
 *   DynamicQuantizeLinear(x) -> MatMulInteger with int8 weights -> Cast -> Mul by the scales of x and of the weights
 *
 * with one scale for a matrix. The float matrices leave the model.
 */
import type { ModelSpec, NodeSpec, TensorSpec } from '@msd/onnx/write';

const FLOAT = 1;

/** @param model all of whose nodes and tensors are spelt out, none already encoded */
export function dynamicQ8(model: ModelSpec): ModelSpec {
  const tensors = new Map((model.graph.initializers as readonly TensorSpec[]).map((tensor) => [tensor.name, tensor]));
  const initializers = new Map(tensors);
  const quantized = new Set<string>();
  const nodes = (model.graph.nodes as readonly NodeSpec[]).flatMap((node): NodeSpec[] => {
    const [x, name] = node.inputs as [string, string];
    const weights = tensors.get(name);
    if (node.opType !== 'MatMul' || weights?.dims.length !== 2) return [node];
    initializers.delete(name);
    for (const tensor of quantizedTensors(weights)) initializers.set(tensor.name, tensor);
    // Products of one x share its codes.
    const codes = quantized.has(x) ? [] : [quantizeNode(x)];
    quantized.add(x);
    return [...codes, ...productNodes(node, x, name)];
  });
  return { ...model, graph: { ...model.graph, nodes, initializers: [...initializers.values()] } };
}

function quantizeNode(x: string): NodeSpec {
  const outputs = ['quantized', 'scale', 'zero_point'].map((part) => `${x}_${part}`);
  return { name: `${x}_QuantizeLinear`, opType: 'DynamicQuantizeLinear', inputs: [x], outputs };
}

function productNodes({ name = '', outputs }: NodeSpec, x: string, w: string): NodeSpec[] {
  const node = (part: string, opType: string, inputs: readonly string[], more: Partial<NodeSpec> = {}): NodeSpec => ({
    name: `${name}_${part}`,
    opType,
    inputs,
    outputs: [`${name}_${part}_output`],
    ...more,
  });
  const product = [`${x}_quantized`, `${w}_quantized`, `${x}_zero_point`, `${w}_zero_point`];
  return [
    node('quant', 'MatMulInteger', product),
    node('cast', 'Cast', [`${name}_quant_output`], { attributes: { to: { int: FLOAT } } }),
    node('scales_mul', 'Mul', [`${x}_scale`, `${w}_scale`]),
    node('output_scale_mul', 'Mul', [`${name}_cast_output`, `${name}_scales_mul_output`], { outputs }),
  ];
}

/** real = scale · code, codes in [-127, 127]. */
function quantizedTensors({ name, dims, data }: TensorSpec): TensorSpec[] {
  const values = data as Float32Array;
  const scale = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127 || 1;
  const codes = Int8Array.from(values, (value) => Math.round(value / scale));
  return [
    { name: `${name}_quantized`, dtype: 'int8', dims, data: codes },
    { name: `${name}_scale`, dtype: 'float32', dims: [], data: new Float32Array([scale]) },
    { name: `${name}_zero_point`, dtype: 'int8', dims: [], data: new Int8Array(1) },
  ];
}
