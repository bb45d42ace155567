/** Everything in the shared conformance folder through `executionProviders: ['msd']`. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorBound, type QuantizedWeights, sqnr } from '@msd/core';
import { describe, expect, it } from 'vitest';
import type { DataTypeName } from '../src/data-types.ts';
import { loadOperators } from '../src/execute/families.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { inferTypes } from '../src/ir/infer.ts';
import { matchNodes } from '../src/passes/match.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { reportOf } from '../src/register.ts';
import { type AttributeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import {
  ARRAYS,
  conformanceFolder,
  firstDifference,
  modelFolders,
  readTensorFile,
  readTensorFiles,
} from './conformance.ts';
import { floats, ort, session, tensor } from './ort.ts';

await loadOperators();

const root = conformanceFolder ?? '';

/** What MSD takes: what pays, and everything that it has. */
const claims = ['auto', 'all'] as const;

/** Recorded outputs that ONNX Runtime's own fusions changed: without optimisation it gives what MSD gives. */
const FUSED: ReadonlySet<string> = new Set([
  'fusion__attention_int32_mask', // a mask of any integers is taken for one of 0 and 1
  'fusion__attention_past_no_unidir', // sizes that do not fit, which the fused operator does not look at
  'fusion__attention_past_unidir',
]);

/** Scores of 17,000, where neighbours among f32 are 0.002 apart: two orders of one sum differ by that, and e to it. */
const COARSE: ReadonlySet<string> = new Set(['gpt2_attention_add_opt_no_skiplayernorm', 'gpt2_attention_no_past_opt']);

/** float16 up to 4: one step of it. ONNX Runtime computes it in f32 and rounds at the end; between two parts of a model it has to. */
const ROUNDED: ReadonlySet<string> = new Set([
  'whisper__hf_fp16_decoder_attention_no_past',
  'whisper__hf_fp16_decoder_attention_with_past',
  'whisper__hf_fp16_decoder_attention_with_past_split_bias',
]);

describe.skipIf(!conformanceFolder)('conformance (skipped where ../shared/conformance is absent)', () => {
  describe.each(['onnx-node', 'models'].flatMap((group) => claims.map((claim) => [group, claim] as const)))(
    '%s, claim %s',
    (group, claim) => {
      const names = modelFolders(group).filter((name) => !FUSED.has(name));
      it.each(names)('%s', async (name) => {
        const folder = join(root, group, name);
        const s = await session(join(folder, 'model.onnx'), { name: 'msd', claim });
        for (const set of readdirSync(folder).filter((entry) => entry.startsWith('test_data_set_'))) {
          const feeds: Record<string, ort.Tensor> = {};
          readTensorFiles(join(folder, set), 'input').forEach((input, index) => {
            feeds[s.inputNames[index]!] = input.tensor;
          });
          const results = await s.run(feeds);
          readTensorFiles(join(folder, set), 'output').forEach((output, index) => {
            const output_ = s.outputNames[index]!;
            const bound =
              COARSE.has(name) || ROUNDED.has(name) ? new Float64Array(output.tensor.size).fill(2e-3) : undefined;
            expect(firstDifference(results[output_], output.tensor, bound), `${set} ${output_}`).toBeUndefined();
          });
        }
        if (claim === 'all')
          for (const { opType, where, reason } of reportOf(s)!.nodes)
            if (/Attention$/.test(opType)) expect(where === 'msd' || reason).toBe(true);
        await s.release();
      });
    },
  );

  it.each([...FUSED])('%s: as ONNX Runtime without its fusions, if that takes it', async (name) => {
    const folder = join(root, modelFolders('models').includes(name) ? 'models' : 'onnx-node', name);
    const model = join(folder, 'model.onnx');
    const s = await session(model, { name: 'msd', claim: 'all' });
    const plain = await session(model, 'wasm', { graphOptimizationLevel: 'disabled' });
    for (const set of readdirSync(folder).filter((entry) => entry.startsWith('test_data_set_'))) {
      const inputs = readTensorFiles(join(folder, set), 'input');
      const feeds = Object.fromEntries(inputs.map(({ tensor }, index) => [s.inputNames[index]!, tensor]));
      const expected = await plain.run(feeds).catch(() => undefined);
      expect(expected === undefined).toBe(name.includes('_past_'));
      if (!expected) {
        await expect(s.run(feeds)).rejects.toThrow(RangeError);
        continue;
      }
      const results = await s.run(feeds);
      for (const output of s.outputNames) expect(firstDifference(results[output], expected[output]!)).toBeUndefined();
    }
    for (const each of [s, plain]) await each.release();
  });

  it('takes every attention operator', () => {
    const left: string[] = [];
    for (const group of ['onnx-node', 'models'])
      for (const name of modelFolders(group)) {
        const graph = buildGraph(readModel(bytesSource(readFileSync(join(root, group, name, 'model.onnx')))));
        for (const [node, decision] of matchNodes(inferTypes(graph)))
          if (/Attention$/.test(node.opType) && typeof decision === 'string') left.push(`${name}: ${decision}`);
      }
    expect(left).toEqual([]);
  });

  describe.each(
    (conformanceFolder ? readdirSync(join(root, 'ort-web-ops')) : []).flatMap((file) =>
      claims.map((claim) => [file, claim] as const),
    ),
  )('ort-web-ops/%s, claim %s', (file, claim) => {
    const operators = JSON.parse(readFileSync(join(root, 'ort-web-ops', file), 'utf8')) as OperatorTest[];
    const cases = operators.flatMap((operator, index) =>
      operator.cases.map((each, position) => [`${index}.${position} ${each.name}`, operator, each] as const),
    );
    it.each(cases)('%s', async (_, operator, each) => {
      const claimed: (string | undefined)[] = [];
      for (const constants of operator.operator === 'MatMulNBits' ? [false, true] : [false]) {
        const s = await session(operatorModel(operator, each, constants), { name: 'msd', claim });
        const feeds: Record<string, ort.Tensor> = {};
        each.inputs.forEach((input, index) => {
          if (input.data && s.inputNames.includes(`input_${index}`)) feeds[`input_${index}`] = ortTensor(input);
        });
        const results = await s.run(feeds);
        const { where, reason } = reportOf(s)!.nodes[0]!;
        if (claim === 'all' && /Attention$/.test(operator.operator)) expect(where === 'msd' || reason).toBe(true);
        each.outputs.forEach((output, index) => {
          if (!output.data) return;
          const isProduct = where === 'msd' && operator.operator === 'MatMulNBits';
          const bound = isProduct ? matmulBound(operator, each) : undefined;
          expect(firstDifference(results[`output_${index}`], ortTensor(output), bound)).toBeUndefined();
        });
        claimed.push(where);
        await s.release();
      }
      if (claimed.length < 2) return;
      const smallest = intAttribute(operator, 'bits') === 4 ? 16 : 32;
      expect(claimed).toEqual(['ort', intAttribute(operator, 'block_size') >= smallest ? 'msd' : 'ort']);
    });
  });

  describe('stories260k', () => {
    const { variants } = conformanceFolder
      ? (JSON.parse(readFileSync(join(root, 'stories260k/expected.json'), 'utf8')) as Expected)
      : { variants: {} };
    const prompts = Object.entries(variants).flatMap(([variant, { model, prompts: list }]) =>
      list.map((prompt, index) => [variant, index, model, prompt] as const),
    );
    const sessions = new Map<string, Promise<ort.InferenceSession>>();
    const shared = (model: string): Promise<ort.InferenceSession> => {
      if (!sessions.has(model)) sessions.set(model, session(join(root, 'stories260k', model)));
      return sessions.get(model)!;
    };
    it.each(prompts)('%s, prompt %i: logits and 128 greedy tokens', async (variant, index, model, prompt) => {
      const s = await shared(model);
      const { prefill, tokens } = await greedy(s, prompt.input_ids, prompt.tokens.length);
      const recorded = readTensorFile(join(root, 'stories260k/logits', `${variant}_${index}.pb`)).tensor;
      expect(prefill.dims).toEqual(recorded.dims);
      expect(sqnr(floats(recorded), floats(prefill))).toBeGreaterThan(60);
      if (prompt.minMargin > 0.02) expect(tokens).toEqual(prompt.tokens);
      else expect(tokens.length).toBe(prompt.tokens.length);
      expect(reportOf(s)!.foreignRunsPerCall).toBe(0);
    });
  });
});

interface Expected {
  readonly variants: Record<string, { readonly model: string; readonly prompts: readonly Prompt[] }>;
}
interface Prompt {
  readonly input_ids: number[];
  readonly tokens: number[];
  readonly minMargin: number;
}

/** Decodes greedily, `present` fed back as `past`. */
async function greedy(s: ort.InferenceSession, prompt: readonly number[], count: number) {
  const feeds: Record<string, ort.Tensor> = {};
  const pasts = s.inputNames.filter((name) => name.startsWith('past_key_values'));
  for (const name of pasts) feeds[name] = tensor(new Float32Array(0), [1, 4, 0, 16]);
  let ids = [...prompt];
  let length = 0;
  let prefill: ort.Tensor | undefined;
  const tokens: number[] = [];
  while (tokens.length < count) {
    length += ids.length;
    feeds.input_ids = new ort.Tensor('int64', BigInt64Array.from(ids.map(BigInt)), [1, ids.length]);
    feeds.attention_mask = new ort.Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]);
    const results = await s.run(feeds);
    for (const name of pasts) feeds[name] = results[name.replace('past_key_values', 'present')]!;
    prefill ??= results.logits!;
    const last = floats(results.logits).slice(-512);
    const best = last.indexOf(last.reduce((max, value) => Math.max(max, value)));
    tokens.push(best);
    ids = [best];
  }
  return { prefill: prefill!, tokens };
}

interface TensorCase {
  readonly data: readonly number[] | null;
  readonly dims: readonly number[];
  readonly type: DataTypeName;
}
interface OperatorTest {
  readonly operator: string;
  readonly opset?: { readonly domain: string; readonly version: number };
  readonly attributes?: readonly { readonly name: string; readonly type: string; readonly data: unknown }[];
  readonly cases: readonly {
    readonly name: string;
    readonly inputs: readonly TensorCase[];
    readonly outputs: readonly TensorCase[];
  }[];
}

function intAttribute(test: OperatorTest, name: string): number {
  return Number(test.attributes?.find((attribute) => attribute.name === name)?.data);
}

/** How far two components may be from the exact product of a MatMulNBits case. */
function matmulBound(test: OperatorTest, { inputs: [x, data, scales, zeroPoints] }: OperatorTest['cases'][number]) {
  const weights: QuantizedWeights = {
    format: intAttribute(test, 'bits') === 4 ? 'int4' : 'int8',
    N: intAttribute(test, 'N'),
    K: intAttribute(test, 'K'),
    blockSize: intAttribute(test, 'block_size'),
    data: typedData(data!) as Uint8Array,
    scales: typedData(scales!) as Float32Array,
    ...(zeroPoints?.data && { zeroPoints: typedData(zeroPoints) as Uint8Array }),
  };
  return errorBound(typedData(x!) as Float32Array, weights);
}

function ortTensor(each: TensorCase): ort.Tensor {
  return new ort.Tensor(each.type, typedData(each) as Float32Array, each.dims) as ort.Tensor;
}

/** Plain numbers as the element type has them. */
function typedData({ data, type }: TensorCase): ArrayBufferView {
  const numbers = data ?? [];
  if (type === 'int4' || type === 'uint4') {
    const packed = new Uint8Array(Math.ceil(numbers.length / 2));
    numbers.forEach((value, i) => {
      packed[i >> 1]! |= (value & 15) << (4 * (i & 1));
    });
    return packed;
  }
  const Array_ = ARRAYS[type] as unknown as { from(values: readonly (number | bigint)[]): ArrayBufferView };
  return Array_.from(type === 'int64' || type === 'uint64' ? numbers.map(BigInt) : numbers);
}

/** The one-node model of a case; with `constants` all inputs but the first are initializers. */
function operatorModel(test: OperatorTest, each: OperatorTest['cases'][number], constants: boolean): Uint8Array {
  const attributes: Record<string, AttributeSpec> = {};
  for (const { name, type, data } of test.attributes ?? [])
    attributes[name] = { [type]: data } as unknown as AttributeSpec;
  const name = (kind: string, { data }: TensorCase, index: number): string => (data ? `${kind}_${index}` : '');
  const given = each.inputs.map((input, index) => ({ input, name: name('input', input, index) }));
  const used = given.filter((entry) => entry.name !== '');
  const fixed = constants ? used.slice(1) : [];
  const { domain = '', version = 21 } = test.opset ?? {};
  return writeModel({
    opsets: { '': 21, 'com.microsoft': 1, [domain]: version },
    graph: {
      nodes: [
        {
          opType: test.operator,
          domain,
          inputs: given.map((entry) => entry.name),
          outputs: each.outputs.map((output, index) => name('output', output, index)),
          attributes,
        },
      ],
      initializers: fixed.map(({ input, name: own }): TensorSpec => {
        return { name: own, dtype: input.type as TensorSpec['dtype'], dims: input.dims, data: typedData(input) };
      }),
      inputs: used
        .filter((entry) => !fixed.includes(entry))
        .map(({ input, name: own }) => ({ name: own, dtype: input.type, dims: input.dims })),
      outputs: each.outputs.flatMap((output, index) =>
        output.data ? [{ name: `output_${index}`, dtype: output.type, dims: output.dims }] : [],
      ),
    },
  });
}
