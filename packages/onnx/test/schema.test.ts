/** What schemas fix, compared with what onnxruntime-web says of nodes that have too few or too many operands or results. */
import { describe, expect, it } from 'vitest';
import { loadOperators } from '../src/execute/families.ts';
import { OPERATORS } from '../src/ops/index.ts';
import { knownCounts, wrongCount, wrongKind } from '../src/ops/schema.ts';
import type { Attribute, NodeRecord } from '../src/read/node.ts';
import { type NodeSpec, writeModel } from '../src/write/index.ts';
import { around, matrix, op, outcomeOf } from './odd.ts';

await loadOperators();

const names = (count: number, name: string): string[] => Array.from({ length: count }, (_, i) => `${name}${i}`);

function recordOf(inputs: number, outputs: number): NodeRecord {
  return { inputs: names(inputs, 'x'), outputs: names(outputs, 'y'), attributes: new Map() } as unknown as NodeRecord;
}

/** What ONNX Runtime says of the numbers. */
async function refusal(
  name: string,
  opset: number,
  inputs: number,
  outputs: number,
  leftOut = -1,
): Promise<string | undefined> {
  const dot = name.lastIndexOf('.');
  const domain = name.slice(0, Math.max(0, dot));
  const node: NodeSpec = {
    opType: name.slice(dot + 1),
    domain,
    inputs: names(inputs, 'x').map((_, i) => (i === leftOut ? '' : 'x')),
    outputs: names(outputs, 'y'),
  };
  const model = writeModel({
    opsets: { '': opset, 'com.microsoft': 1 },
    graph: {
      nodes: [node, op('Identity', ['x'], ['out'])],
      inputs: [{ name: 'x', dtype: 'float32', dims: [2] }],
      outputs: [{ name: 'out' }],
    },
  });
  const { message } = await outcomeOf(model, 'wasm');
  if (/No Op registered/.test(message)) return 'unknown';
  return /(input|output) size \d+ not in range|marked single but has an empty string/.exec(message)?.[0];
}

describe('schemas', () => {
  it('every operator that is taken has its counts', () => {
    const taken = [...OPERATORS.values()].filter(({ match, host }) => match || host).map(({ name }) => name);
    expect(taken.filter((name) => !knownCounts().has(name))).toEqual([]);
  });

  it('operands that are left out are refused where onnxruntime-web refuses them', { timeout: 300_000 }, async () => {
    const record = (count: number, leftOut: number): NodeRecord => {
      const { inputs, ...rest } = recordOf(count, 1);
      return { ...rest, inputs: inputs.with(leftOut, '') };
    };
    const differing: string[] = [];
    let refused = 0;
    for (const name of knownCounts())
      for (const opset of name.includes('.') ? [21] : [11, 21])
        for (let count = 2; count < 8; count++)
          for (let leftOut = 0; leftOut < count - 1; leftOut++) {
            if (wrongCount(name, recordOf(count, 1), opset)) continue;
            const own = wrongCount(name, record(count, leftOut), opset);
            if (own === undefined) continue;
            refused++;
            expect(own).toBe(`input ${leftOut} is left out`);
            // Some are refused for other reasons before ONNX Runtime looks at operands.
            if (!/^(Concat|Einsum|If|Max|Min|Scan|Sum)$/.test(name) && !(await refusal(name, opset, count, 1, leftOut)))
              differing.push(`${name} ${opset}: ${leftOut} of ${count}`);
          }
    expect(differing).toEqual([]);
    expect(refused).toBeGreaterThan(100);
  });

  it('counts are those of onnxruntime-web', { timeout: 300_000 }, async () => {
    const differing: string[] = [];
    for (const name of knownCounts()) {
      const asked = new Set<string>();
      for (const opset of name.includes('.') ? [21] : [7, 11, 13, 18, 24]) {
        // The counts from which on none is wrong, and up to which.
        const sizes = Array.from({ length: 24 }, (_, count) => count);
        const fits = sizes.filter((count) => !wrongCount(name, recordOf(count, 1), opset)?.includes('inputs'));
        const [least, most] = [fits[0]!, fits.at(-1)!];
        const counts = sizes.filter((count) => !wrongCount(name, recordOf(least, count), opset));
        const [fewest, largest] = [counts[0]!, counts.at(-1)!];
        // What does not change is asked once.
        const key = [least, most, fewest, largest].join();
        if (asked.has(key)) continue;
        if ((await refusal(name, opset, least, fewest)) === 'unknown') continue;
        asked.add(key);
        const tries = [
          [least, fewest, true],
          [least - 1, fewest, false],
          [most, fewest, true],
          [most + 1, fewest, most === 23],
          [least, fewest - 1, fewest === 0],
          [least, largest, true],
          [least, largest + 1, largest === 23],
        ] as const;
        for (const [inputs, outputs, isFine] of tries) {
          if (inputs < 0 || outputs < 0) continue;
          const said = await refusal(name, opset, inputs, outputs);
          if ((said === undefined) !== isFine) differing.push(`${name} ${opset}: ${inputs} > ${outputs}: ${said}`);
        }
      }
    }
    expect(differing).toEqual([]);
  });

  it('attributes that are taken have their kind, but for two that have several', () => {
    const unknown = new Set<string>();
    for (const { attributes = [] } of OPERATORS.values())
      for (const name of attributes) {
        const other: Attribute = { kind: 'other' };
        const node = { attributes: new Map([[name, other]]) } as unknown as NodeRecord;
        if (wrongKind(node, [name]) === undefined) unknown.add(name);
      }
    expect([...unknown].filter((name) => name !== 'value' && name !== 'quant_type')).toEqual([]);
  });
});

const product = matrix.node('x', 'y') as NodeSpec;
const { initializers } = matrix;
const bad: Readonly<Record<string, readonly NodeSpec[]>> = {
  'a product with a second result that is used': [{ ...product, outputs: ['h', 'i'] }, op('Add', ['h', 'i'], ['y'])],
  'a product with a second result that is not used': [{ ...product, outputs: ['y', 'i'] }],
  'a product with too many operands': [{ ...product, inputs: [...product.inputs, '', '', '', ''] }],
  'a function with two operands': [matrix.node('x', 'h') as NodeSpec, op('Relu', ['h', 'h'], ['y'])],
  'a function with two results': [matrix.node('x', 'h') as NodeSpec, op('Tanh', ['h'], ['y', 'z'])],
  'a sum of one operand': [matrix.node('x', 'h') as NodeSpec, op('Add', ['h'], ['y'])],
  'an activation with a wrong node inside': [
    matrix.node('x', 'h') as NodeSpec,
    op('Sigmoid', ['h', 'h'], ['s']),
    op('Mul', ['h', 's'], ['y']),
  ],
  'an attribute of another kind': [
    matrix.node('x', 'h') as NodeSpec,
    op('LeakyRelu', ['h'], ['y'], { alpha: { int: 1 } }),
  ],
  'an attribute that nobody reads, of another kind': [
    { ...product, attributes: { ...product.attributes, accuracy_level: { float: 4 } } },
  ],
};

describe('nodes that are none of their operator', () => {
  it.each(Object.entries(bad))('%s: refused, as by onnxruntime-web', async (_, nodes) => {
    const bytes = writeModel({ graph: around({ nodes, initializers, outputs: [{ name: 'y', dtype: 'float32' }] }) });
    expect((await outcomeOf(bytes, 'wasm')).stage).toBe('create');
    for (const provider of ['msd', { name: 'msd', claim: 'all' } as const] as const) {
      const own = await outcomeOf(bytes, provider);
      expect(own.stage).toBe('create');
      expect(own.name).toMatch(/ForeignRunError|OnnxFormatError/);
    }
  });
});
