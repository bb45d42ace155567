/**
 * The model as an ONNX graph, node by node what today's exporters write for a Llama with a KV cache:
 *
 *   Gather -> per layer [norm -> q, k, v -> GroupQueryAttention -> o -> skip-norm -> gate, up -> SwiGLU -> down -> skip-norm] -> lm_head
 *
 * Linear layers are MatMul (fp32) or com.microsoft.MatMulNBits (int4); everything else is the same in both.
 *
 *   input_ids                   int64 [batch, sequence]
 *   attention_mask              int64 [batch, past + sequence]
 *   past_key_values.N.key|value f32   [batch, kvHeads, past, headDim]
 *   logits                      f32   [batch, sequence, vocab]
 *   present.N.key|value         f32   [batch, kvHeads, past + sequence, headDim]
 */
import type { QuantizedWeights } from '@msd/core';
import type { AttributeSpec, ModelSpec, NodeSpec, TensorSpec, ValueSpec } from '@msd/onnx/write';
import { type ModelConfig, rotaryTables, type WeightArray, type Weights } from './model.ts';

const MICROSOFT = 'com.microsoft';
const INT32 = 6;

/** Collects nodes and initializers; every method returns the name of what it made. */
class GraphBuilder {
  readonly nodes: NodeSpec[] = [];
  readonly initializers: TensorSpec[] = [];

  constant(name: string, dtype: TensorSpec['dtype'], dims: readonly number[], data: ArrayBufferView): string {
    this.initializers.push({ name, dtype, dims, data });
    return name;
  }

  /** Adds a node named `name`; its single output is `<name>/output_0` unless `outputs` says otherwise. */
  node(
    name: string,
    opType: string,
    inputs: readonly string[],
    options: {
      readonly domain?: string;
      readonly outputs?: readonly string[];
      readonly attributes?: Readonly<Record<string, AttributeSpec>>;
    } = {},
  ): string {
    const outputs = options.outputs ?? [`${name}/output_0`];
    const { domain, attributes } = options;
    this.nodes.push({ name, opType, inputs, outputs, ...(domain && { domain }), ...(attributes && { attributes }) });
    return outputs[0] as string;
  }
}

/**
 * @param weights fp32 weights, named as in Hugging Face checkpoints; the head is tied to the embedding
 * @param linears int4 versions of the linear layers by weight name, `lm_head.weight` included; absent = an fp32 model
 * @returns what `writeModel` takes; its tensors share memory with the arguments where the layout allows it
 * @throws {@link RangeError} when a weight is missing.
 */
export function decoderGraph(
  config: ModelConfig,
  weights: Weights,
  linears?: ReadonlyMap<string, QuantizedWeights>,
): ModelSpec {
  const { hiddenSize, headDim, heads, kvHeads, vocabSize, context, normEps } = config;
  const graph = new GraphBuilder();
  const epsilon: AttributeSpec = { float: normEps };
  const weight = (name: string): WeightArray => {
    const found = weights.get(name);
    if (found === undefined) throw new RangeError(`decoderGraph: weight ${name} is missing.`);
    return found;
  };
  const gain = (name: string): string => graph.constant(name, 'float32', [hiddenSize], weight(name).data);

  /** y = x · Wᵀ. `path` is the layer's place in the graph, `name` its weight in the checkpoint. */
  const linear = (path: string, name: string, x: string, outputs?: readonly string[]): string => {
    const stem = `${path.slice(1).replaceAll('/', '.')}.MatMul.weight`;
    if (linears === undefined) {
      const { shape, data } = weight(name === 'lm_head.weight' ? 'model.embed_tokens.weight' : name);
      const [N = 0, K = 0] = shape;
      const w = graph.constant(stem, 'float32', [K, N], transpose(data, N, K));
      return graph.node(`${path}/MatMul`, 'MatMul', [x, w], { ...(outputs && { outputs }) });
    }
    const int4 = linears.get(name);
    if (int4 === undefined) throw new RangeError(`decoderGraph: int4 weight ${name} is missing.`);
    const { N, K, data, scales } = int4;
    const blockSize = int4.blockSize as number;
    const blocks = Math.ceil(K / blockSize);
    const codes = graph.constant(`${stem}_Q4`, 'uint8', [N, blocks, blockSize / 2], data);
    const steps = graph.constant(`${stem}_scales`, 'float32', [N * blocks], scales);
    return graph.node(`${path}/MatMul_Q4`, 'MatMulNBits', [x, codes, steps], {
      domain: MICROSOFT,
      outputs: outputs ?? [`${path}/MatMul_Q4/output_0`],
      attributes: {
        K: { int: K },
        N: { int: N },
        bits: { int: 4 },
        block_size: { int: blockSize },
        accuracy_level: { int: 4 },
      },
    });
  };

  /** `${path}/output_0` = norm(x + residual) and, if `keepSum`, `${path}/output_3` = x + residual. */
  const skipNorm = (path: string, residual: string, x: string, gainName: string, keepSum: boolean): void => {
    graph.node(`${path}/SkipLayerNorm`, 'SkipSimplifiedLayerNormalization', [residual, x, gain(gainName)], {
      domain: MICROSOFT,
      outputs: [`${path}/output_0`, ...(keepSum ? ['', '', `${path}/output_3`] : [])],
      attributes: { epsilon },
    });
  };

  const { cos, sin } = rotaryTables(config);
  const rotary = [
    graph.constant('cos_cache', 'float32', [context, headDim / 2], cos),
    graph.constant('sin_cache', 'float32', [context, headDim / 2], sin),
  ];
  const [lastIndex, total] = maskArithmetic(graph);
  const table = graph.constant(
    'model.embed_tokens.weight',
    'float32',
    [vocabSize, hiddenSize],
    weight('model.embed_tokens.weight').data,
  );
  let residual = graph.node('/model/embed_tokens/Gather', 'Gather', [table, 'input_ids']);
  let x = graph.node(
    '/model/layers.0/input_layernorm/LayerNorm',
    'SimplifiedLayerNormalization',
    [residual, gain('model.layers.0.input_layernorm.weight')],
    { attributes: { epsilon, axis: { int: -1 }, stash_type: { int: 1 } } },
  );
  for (let layer = 0; layer < config.layers; layer++) {
    const path = `/model/layers.${layer}`;
    const name = `model.layers.${layer}`;
    const qkv = ['q_proj', 'k_proj', 'v_proj'].map((projection) =>
      linear(`${path}/attn/${projection}`, `${name}.self_attn.${projection}.weight`, x),
    );
    const past = [`past_key_values.${layer}.key`, `past_key_values.${layer}.value`];
    const attention = `${path}/attn/GroupQueryAttention`;
    graph.node(attention, 'GroupQueryAttention', [...qkv, ...past, lastIndex, total, ...rotary], {
      domain: MICROSOFT,
      outputs: [`${attention}/output_0`, `present.${layer}.key`, `present.${layer}.value`],
      attributes: {
        num_heads: { int: heads },
        kv_num_heads: { int: kvHeads },
        scale: { float: 1 / Math.sqrt(headDim) },
        do_rotary: { int: 1 },
        rotary_interleaved: { int: 0 },
      },
    });
    const mixed = linear(`${path}/attn/o_proj`, `${name}.self_attn.o_proj.weight`, `${attention}/output_0`);
    const middle = `${path}/post_attention_layernorm`;
    skipNorm(middle, residual, mixed, `${name}.post_attention_layernorm.weight`, true);
    const gate = linear(`${path}/mlp/gate_proj`, `${name}.mlp.gate_proj.weight`, `${middle}/output_0`);
    const up = linear(`${path}/mlp/up_proj`, `${name}.mlp.up_proj.weight`, `${middle}/output_0`);
    const sigmoid = graph.node(`${path}/mlp/act_fn/Sigmoid`, 'Sigmoid', [gate]);
    const silu = graph.node(`${path}/mlp/act_fn/Mul`, 'Mul', [gate, sigmoid]);
    const gated = graph.node(`${path}/mlp/Mul`, 'Mul', [silu, up]);
    const down = linear(`${path}/mlp/down_proj`, `${name}.mlp.down_proj.weight`, gated);
    const last = layer + 1 === config.layers;
    const next = last ? 'model.norm' : `model.layers.${layer + 1}.input_layernorm`;
    const nextPath = last ? '/model/norm' : `/model/layers.${layer + 1}/input_layernorm`;
    skipNorm(nextPath, `${middle}/output_3`, down, `${next}.weight`, !last);
    residual = `${nextPath}/output_3`;
    x = `${nextPath}/output_0`;
  }
  linear('/lm_head', 'lm_head.weight', x, ['logits']);
  const { nodes, initializers } = graph;
  return {
    irVersion: 10,
    opsets: { '': 21, [MICROSOFT]: 1 },
    graph: { name: 'main_graph', nodes, initializers, ...signature(config) },
  };
}

/**
 * What GroupQueryAttention wants to know of the mask.
 *
 * @returns names of int32 [batch], the index of each sequence's last token, and int32 [], the padded total length
 */
function maskArithmetic(graph: GraphBuilder): [string, string] {
  const path = '/model/attn_mask_reformat/attn_mask_subgraph';
  const one = graph.constant('/model/constants/INT64/[1]', 'int64', [1], BigInt64Array.of(1n));
  const scalarOne = graph.constant('/model/constants/INT64/1', 'int64', [], BigInt64Array.of(1n));
  const toInt32 = { attributes: { to: { int: INT32 } } };
  const sum = graph.node(`${path}/ReduceSum`, 'ReduceSum', ['attention_mask', one], {
    attributes: { keepdims: { int: 0 } },
  });
  const lastIndex = graph.node(`${path}/Sub`, 'Sub', [sum, one]);
  const shape = graph.node(`${path}/Shape`, 'Shape', ['attention_mask']);
  const total = graph.node(`${path}/Gather`, 'Gather', [shape, scalarOne], { attributes: { axis: { int: 0 } } });
  return [
    graph.node(`${path}/Sub/Cast`, 'Cast', [lastIndex], toInt32),
    graph.node(`${path}/Gather/Cast`, 'Cast', [total], toInt32),
  ];
}

/** The graph's inputs and outputs, in the order of the header. */
function signature(config: ModelConfig): { inputs: readonly ValueSpec[]; outputs: readonly ValueSpec[] } {
  const { layers, kvHeads, headDim, vocabSize } = config;
  const cache = (prefix: string, length: string): ValueSpec[] =>
    Array.from({ length: layers }, (_, layer) =>
      ['key', 'value'].map(
        (part): ValueSpec => ({
          name: `${prefix}.${layer}.${part}`,
          dtype: 'float32',
          dims: ['batch_size', kvHeads, length, headDim],
        }),
      ),
    ).flat();
  return {
    inputs: [
      { name: 'input_ids', dtype: 'int64', dims: ['batch_size', 'sequence_length'] },
      { name: 'attention_mask', dtype: 'int64', dims: ['batch_size', 'total_sequence_length'] },
      ...cache('past_key_values', 'past_sequence_length'),
    ],
    outputs: [
      { name: 'logits', dtype: 'float32', dims: ['batch_size', 'sequence_length', vocabSize] },
      ...cache('present', 'total_sequence_length'),
    ],
  };
}

/** [N, K] -> [K, N]. */
function transpose(data: Float32Array, N: number, K: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let n = 0; n < N; n++) for (let k = 0; k < K; k++) out[k * N + n] = data[n * K + k] as number;
  return out;
}
