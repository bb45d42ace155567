import { readFileSync } from 'node:fs';
import { writeModel } from '@msd/onnx/write';
import * as ort from 'onnxruntime-web';
import { describe, expect, it } from 'vitest';
import { DecoderSession } from '../../../packages/cli/src/run/decoder.ts';
import { FILES } from './files.ts';
import { Decoder } from './forward.ts';
import { CONFIG, initialWeights, type ModelConfig, type Weights } from './model.ts';
import { decoderGraph } from './onnx-graph.ts';
import { BLOCK_SIZE, quantizedLinears, quantizedWeights } from './quantize.ts';
import { seededRandom } from './random.ts';
import { readSafetensors } from './safetensors.ts';

ort.env.wasm.numThreads = 1;

const PROMPT = [1, 7, 30, 7, 2, 19, 0, 31, 5, 7, 12, 4];
const DECODED = [3, 17, 8, 8, 29];

async function sessionOf(config: ModelConfig, model: ReturnType<typeof decoderGraph>): Promise<DecoderSession> {
  const session = await ort.InferenceSession.create(writeModel(model), { executionProviders: ['wasm'] });
  return new DecoderSession(session, { ...config });
}

/** Prefill in one run, then token by token; the session's logits against the plain loops'. */
async function expectSameLogits(session: DecoderSession, decoder: Decoder): Promise<void> {
  const expected = [...PROMPT, ...DECODED].map((id) => decoder.step(id)).slice(PROMPT.length - 1);
  const got = [await session.read(PROMPT)];
  for (const id of DECODED) got.push(await session.read([id]));
  expected.forEach((logits, t) => {
    // A few hundred float32 roundings of relative size 2⁻²⁴ between token and logit.
    const tolerance = Math.max(...logits.map(Math.abs)) * 300 * 2 ** -24;
    for (const [n, logit] of logits.entries()) {
      expect(Math.abs((got[t]?.[n] as number) - logit), `step ${t}, logit ${n}`).toBeLessThan(tolerance);
    }
  });
}

const trained = readSafetensors(readFileSync(FILES.weights)).weights;
const OTHER: ModelConfig = {
  vocabSize: 64,
  hiddenSize: 64,
  layers: 2,
  heads: 4,
  kvHeads: 4,
  headDim: 16,
  mlpSize: 96,
  context: 32,
  normEps: 1e-6,
  ropeTheta: 500,
};

describe.each<[string, ModelConfig, Weights]>([
  ['trained model', CONFIG, trained],
  ['another shape, no grouped heads', OTHER, initialWeights(OTHER, seededRandom(5))],
])('decoderGraph: %s', (_, config, weights) => {
  it('fp32 computes what the plain loops do, in prefill and decode', async () => {
    await expectSameLogits(await sessionOf(config, decoderGraph(config, weights)), new Decoder(config, weights));
  });

  it('int4 computes what the plain loops do with dequantized weights', async () => {
    const session = await sessionOf(config, decoderGraph(config, weights, quantizedLinears(weights)));
    await expectSameLogits(session, new Decoder(config, quantizedWeights(weights)));
  });
});

describe('decoderGraph', () => {
  it('has no int4 padding: every K is a multiple of the block', () => {
    const linears = [...quantizedLinears(trained)];
    expect(linears).toHaveLength(7 * CONFIG.layers + 1);
    for (const [name, { K, N, data }] of linears) {
      expect(K % BLOCK_SIZE, name).toBe(0);
      expect(data.length, name).toBe((N * K) / 2);
    }
  });

  it('names nodes, inputs and outputs as exporters do', () => {
    const { graph } = decoderGraph(CONFIG, trained, quantizedLinears(trained));
    const names = graph.nodes.map((node) => ('name' in node ? node.name : ''));
    expect(new Set(names).size).toBe(names.length);
    expect(names).toContain('/model/layers.0/attn/q_proj/MatMul_Q4');
    expect(names).toContain(`/model/layers.${CONFIG.layers - 1}/post_attention_layernorm/SkipLayerNorm`);
    expect(names).toContain('/lm_head/MatMul_Q4');
    expect(graph.inputs.map(({ name }) => name).slice(0, 4)).toEqual([
      'input_ids',
      'attention_mask',
      'past_key_values.0.key',
      'past_key_values.0.value',
    ]);
    expect(graph.outputs.map(({ name }) => name).slice(0, 3)).toEqual(['logits', 'present.0.key', 'present.0.value']);
  });

  it('says which weight is missing', () => {
    const without = (name: string): Weights => new Map([...trained].filter(([key]) => key !== name));
    expect(() => decoderGraph(CONFIG, without('model.norm.weight'))).toThrow(/weight model.norm.weight is missing/);
    expect(() => decoderGraph(CONFIG, trained, new Map())).toThrow(/int4 weight .*q_proj.weight is missing/);
  });
});
