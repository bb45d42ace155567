/**
 * Every operator that runs on the device, by itself, on random operands: what ONNX Runtime gives, within roundings of f32. Operators that have
 * random tests of their own are listed with them.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadOperators } from '../src/execute/families.ts';
import { OPERATORS } from '../src/ops/index.ts';
import { reportOf } from '../src/register.ts';
import { writeModel } from '../src/write/index.ts';
import { random } from './models.ts';
import { ort, session } from './ort.ts';
import { initializersOf, type Operand, RANDOM_CASES, type RandomCase } from './random-cases.ts';

await loadOperators();

const CASES = process.env.MSD_TEST_ALL === '1' ? 200 : 12;

/** Operators that are tested elsewhere, by the file that does it, with sizes and values of their own. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'nbits-forms.test.ts': 'com.microsoft.MatMulNBits',
  'attention/group-query.test.ts': 'com.microsoft.GroupQueryAttention',
  'attention/operators.test.ts': 'com.microsoft.MultiHeadAttention com.microsoft.Attention Attention',
  'attention/decoder-masked.test.ts': 'com.microsoft.DecoderMaskedMultiHeadAttention',
  'bnb4.test.ts': 'com.microsoft.MatMulBnb4',
  'codes.test.ts':
    'com.microsoft.QAttention QLinearMatMul com.microsoft.QGemm com.microsoft.QLinearAdd com.microsoft.QLinearMul com.microsoft.QLinearSigmoid com.microsoft.QLinearLeakyRelu com.microsoft.QLinearConcat QuantizeLinear DequantizeLinear com.microsoft.QuantizeLinear com.microsoft.DequantizeLinear',
  'coded-images.test.ts':
    'QLinearConv com.microsoft.QLinearWhere com.microsoft.QLinearAveragePool com.microsoft.QLinearGlobalAveragePool com.microsoft.QLinearSoftmax',
  'tied.test.ts': 'com.microsoft.GatherBlockQuantized',
  'dynamic.test.ts': 'com.microsoft.DynamicQuantizeMatMul com.microsoft.MatMulIntegerToFloat',
  'conv.test.ts': 'Conv',
  'pools.test.ts': 'AveragePool MaxPool GlobalAveragePool GlobalMaxPool BatchNormalization',
  'recurrent.test.ts': 'LSTM com.microsoft.DynamicQuantizeLSTM',
  'gru.test.ts': 'GRU',
  'experts.test.ts': 'com.microsoft.QMoE',
  'odd-graphs.test.ts': 'Identity',
};

function modelOf(given: RandomCase, isOpen: boolean): Uint8Array {
  const { node, operands, outputs, opset } = given;
  const inputs = operands.flatMap(({ name, dtype, dims, isConstant }) =>
    isConstant ? [] : [{ name, dtype, dims: isOpen ? dims.map((_, i) => `${name}${i}`) : dims }],
  );
  return writeModel({
    opsets: { '': opset, 'com.microsoft': 1 },
    graph: {
      nodes: [node],
      initializers: initializersOf(given),
      inputs,
      outputs: outputs.map((dtype, i) => ({ name: `y${i}`, dtype })),
    },
  });
}

const feedOf = ({ dtype, data, dims }: Operand): ort.Tensor => new ort.Tensor(dtype, data as never, dims) as ort.Tensor;

/** The first element that is too far away. */
function miss(
  got: ort.Tensor,
  want: ort.Tensor,
  { tolerance: [own, ofLargest], operands }: RandomCase,
): string | undefined {
  if (got.type !== want.type || `${got.dims}` !== `${want.dims}`)
    return `expected ${want.type} [${want.dims}], got ${got.type} [${got.dims}]`;
  let largest = 0;
  for (const { data } of operands)
    for (const value of data) if (Number.isFinite(Number(value))) largest = Math.max(largest, Math.abs(Number(value)));
  for (let i = 0; i < want.size; i++) {
    const [a, b] = [Number(got.data[i]), Number(want.data[i])];
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const allowed = 2 ** -24 * (own * Math.abs(b) + ofLargest * largest);
    if (!(Math.abs(a - b) <= allowed)) return `[${i}] expected ${b} ± ${allowed}, got ${a}`;
  }
  return undefined;
}

async function outcomeOf(
  model: Uint8Array,
  provider: Parameters<typeof session>[1],
  given: RandomCase,
): Promise<{
  readonly results?: Readonly<Record<string, ort.Tensor>>;
  readonly error?: unknown;
  readonly where?: string;
}> {
  try {
    const created = await session(model, provider, { logSeverityLevel: 4 });
    const where = reportOf(created)
      ?.nodes.map((node) => node.reason ?? node.where)
      .join();
    const feeds = given.operands.filter(({ isConstant }) => !isConstant).map((each) => [each.name, feedOf(each)]);
    try {
      return { results: await created.run(Object.fromEntries(feeds), { logSeverityLevel: 4 }), where: where! };
    } finally {
      await created.release();
    }
  } catch (error) {
    return { error };
  }
}

describe('operators on random operands', () => {
  it.each([...RANDOM_CASES])('%s', { timeout: 120_000 }, async (name, make) => {
    let taken = 0;
    for (let seed = 1; seed <= CASES; seed++) {
      const given = make(random(1000 * seed + name.length));
      const model = modelOf(given, seed % 2 === 0);
      const [msd, plain] = [
        await outcomeOf(model, { name: 'msd', claim: 'all' }, given),
        await outcomeOf(model, 'wasm', given),
      ];
      const shapes = given.operands.map((each) => `${each.name} [${each.dims}]${each.isConstant ? ' constant' : ''}`);
      const what = `seed ${seed}: ${shapes.join(', ')}, ${JSON.stringify(given.node.attributes)}`;
      if (msd.where === 'msd') taken++;
      if (!plain.results) {
        // What ONNX Runtime refuses may run here, but an error has to be one of ours or its own.
        if (!msd.results) expect(msd.error, what).toBeInstanceOf(Error);
        continue;
      }
      expect(msd.results, `${what}: ${String(msd.error)}`).toBeDefined();
      for (const output of Object.keys(plain.results))
        expect(miss(msd.results![output]!, plain.results[output]!, given), what).toBeUndefined();
    }
    expect(taken).toBeGreaterThan(CASES / 4);
  });

  it('are all of those that run on the device, but for what is tested elsewhere', () => {
    const device = [...OPERATORS.values()].filter(({ match }) => match).map(({ name }) => name);
    const elsewhere = Object.entries(ELSEWHERE).flatMap(([file, names]) =>
      names.split(' ').map((name) => [file, name] as const),
    );
    expect(device.sort()).toEqual([...RANDOM_CASES.keys(), ...elsewhere.map(([, name]) => name)].sort());
    for (const [file, name] of elsewhere)
      expect(readFileSync(fileURLToPath(new URL(file, import.meta.url)), 'utf8'), file).toContain(
        name.split('.').at(-1),
      );
  });
});
