/** Functions that a file brings along: they are put in where they are called. */
import { describe, expect, it } from 'vitest';
import { Branches } from '../src/inline/branches.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { reportOf } from '../src/register.ts';
import type { SessionReport } from '../src/report.ts';
import { type FunctionSpec, type ModelSpec, type NodeSpec, writeModel } from '../src/write/index.ts';
import { CLOSE, relativeMost } from './close.ts';
import { gaussian, makeMatrix, random } from './models.ts';
import { floats, session, tensor } from './ort.ts';

const K = 64;
const DOMAIN = 'of.this.file';
const a = makeMatrix({ name: 'a', N: K, K });
const weights = a.initializers.map(({ name }) => name);
const FLOAT = 1;
const INT = 2;

const op = (
  opType: string,
  inputs: readonly string[],
  output: string,
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({ opType, name: output, inputs, outputs: [output], attributes });
const call = (
  name: string,
  inputs: readonly string[],
  output: string,
  attributes: NodeSpec['attributes'] = {},
): NodeSpec => ({
  ...op(name, inputs, output, attributes),
  domain: DOMAIN,
});
/** A product whose weights are parameters. */
const product: NodeSpec = {
  ...a.node('x', 'p'),
  inputs: ['x', 'codes', 'scales'],
  attributes: { ...a.node('x', 'p').attributes, N: { reference: 'width', type: INT } },
};
const linear: FunctionSpec = {
  name: 'Linear',
  domain: DOMAIN,
  inputs: ['x', 'codes', 'scales', 'bias'],
  outputs: ['y'],
  attributes: ['width'],
  defaults: { slope: { float: 0.25 } },
  nodes: [
    product,
    op('LeakyRelu', ['p'], 'h', { alpha: { reference: 'slope', type: FLOAT } }),
    op('Add', ['h', 'bias'], 'y'),
  ],
  opsets: { '': 21, 'com.microsoft': 1 },
};

function build(
  nodes: readonly NodeSpec[],
  functions: readonly FunctionSpec[],
  opsets: ModelSpec['opsets'] = {},
): Uint8Array {
  return writeModel({
    opsets: { '': 21, 'com.microsoft': 1, [DOMAIN]: 1, ...opsets },
    functions,
    graph: {
      nodes,
      initializers: [...a.initializers, { name: 'b', dtype: 'float32', dims: [K], data: gaussian(random(3), K) }],
      inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', K] }],
      outputs: [{ name: 'y', dtype: 'float32' }],
    },
  });
}

async function compare(bytes: Uint8Array, claim: 'auto' | 'all' = 'auto'): Promise<SessionReport> {
  const [msd, plain] = [await session(bytes, { name: 'msd', claim }), await session(bytes, 'wasm')];
  const feeds = { x: tensor(gaussian(random(7), 3 * K), [3, K]) };
  const [got, expected] = [floats((await msd.run(feeds)).y), floats((await plain.run(feeds)).y)];
  expect(relativeMost(got, expected)).toBeLessThan(CLOSE);
  const report = reportOf(msd)!;
  await msd.release();
  await plain.release();
  return report;
}
const products = ({ nodes }: SessionReport) => nodes.filter(({ opType }) => opType === 'MatMulNBits');
const width = { int: K };

describe('functions of the file', () => {
  it('are put in for every call, with the attributes of the call or the defaults', async () => {
    const nodes = [
      call('Linear', ['x', ...weights, 'b'], 'h', { width }),
      call('Linear', ['h', ...weights, 'b'], 'y', { width, slope: { float: -2 } }),
    ];
    const report = await compare(build(nodes, [linear]));
    expect(report.whole).toBeUndefined();
    expect(report.foreignRunsPerCall).toBe(0);
    expect(products(report).map(({ where, inside }) => [where, inside])).toEqual([
      ['msd', 'h'],
      ['msd', 'y'],
    ]);
    expect(report.weights.fileBytes).toBe((K * K) / 2 + (K * K) / 8 + 4 * K);
  });

  it('call each other; results that are parameters or constants are handed on', async () => {
    const outer: FunctionSpec = {
      ...linear,
      name: 'Outer',
      outputs: ['y', 'same', 'one'],
      defaults: {},
      nodes: [
        call('Linear', ['x', 'codes', 'scales', 'bias'], 'p', { width: { reference: 'width', type: INT } }),
        { opType: 'Constant', inputs: [], outputs: ['one'], attributes: { value_float: { float: 3 } } },
        op('Mul', ['p', 'one'], 'y'),
        op('Identity', ['x'], 'same'),
      ],
      opsets: { ...linear.opsets, [DOMAIN]: 1 },
    };
    const nodes = [
      { ...call('Outer', ['x', ...weights, 'b'], '', { width }), outputs: ['p', 'same', 'one'] },
      op('Add', ['p', 'same'], 'h'),
      op('Mul', ['h', 'one'], 'y'),
    ];
    const report = await compare(build(nodes, [outer, linear]));
    expect(report.foreignRunsPerCall).toBe(0);
    expect(products(report).map(({ inside }) => inside)).toEqual(['p/p']);
  });

  it('may leave operands out, and have what only ONNX Runtime runs', async () => {
    const clipped: FunctionSpec = {
      name: 'Clipped',
      domain: DOMAIN,
      inputs: ['x', 'low', 'high'],
      outputs: ['y'],
      nodes: [op('Clip', ['x', 'low', 'high'], 'h'), op('Selu', ['h'], 's'), op('Clip', ['s', 'low'], 'y')],
      opsets: { '': 21 },
    };
    const nodes = [
      call('Linear', ['x', ...weights, 'b'], 'h', { width }),
      call('Clipped', ['h', '', 'half'], 'c'),
      call('Clipped', ['c'], 'd'),
      call('Linear', ['d', ...weights, 'half'], 'y', { width }),
    ];
    const half: NodeSpec = {
      opType: 'Constant',
      inputs: [],
      outputs: ['half'],
      attributes: { value_float: { float: 0.5 } },
    };
    const report = await compare(build([half, ...nodes], [linear, clipped]));
    expect(report.whole).toBeUndefined();
    expect(products(report).every(({ where }) => where === 'msd')).toBe(true);
    expect(report.foreignRunsPerCall).toBe(1);
  });

  it('may ask for other versions of operators than the model, and for other domains', async () => {
    const old: FunctionSpec = {
      name: 'Old',
      domain: DOMAIN,
      inputs: ['x'],
      outputs: ['y'],
      nodes: [{ ...op('Gelu', ['x'], 'g'), domain: 'com.microsoft' }, op('Selu', ['g'], 's'), op('Relu', ['s'], 'y')],
      opsets: { '': 13, 'com.microsoft': 1 },
    };
    const nodes = [call('Old', ['x'], 'h'), call('Linear', ['h', ...weights, 'b'], 'y', { width })];
    for (const claim of ['auto', 'all'] as const) {
      const report = await compare(build(nodes, [linear, old]), claim);
      expect(products(report).every(({ where }) => where === 'msd')).toBe(true);
    }
  });

  it('with subgraphs: what these take from outside has the names of the call', async () => {
    const chosen: FunctionSpec = {
      name: 'Chosen',
      domain: DOMAIN,
      inputs: ['x', 'limit'],
      outputs: ['y'],
      nodes: [
        op('Relu', ['x'], 'p'),
        op('ReduceMax', ['p'], 'most', { keepdims: { int: 0 } }),
        op('Greater', ['most', 'limit'], 'large'),
        {
          ...op('If', ['large'], 'y'),
          attributes: {
            then_branch: {
              graph: { nodes: [op('Add', ['p', 'x'], 'r')], inputs: [], outputs: [{ name: 'r', dtype: 'float32' }] },
            },
            else_branch: {
              graph: { nodes: [op('Neg', ['p'], 'r')], inputs: [], outputs: [{ name: 'r', dtype: 'float32' }] },
            },
          },
        },
      ],
      opsets: { '': 21 },
    };
    const limit = (value: number, name: string): NodeSpec => ({
      opType: 'Constant',
      inputs: [],
      outputs: [name],
      attributes: { value_float: { float: value } },
    });
    const nodes = [
      limit(0, 'p'),
      limit(1e9, 'r'),
      call('Linear', ['x', ...weights, 'b'], 'h', { width }),
      call('Chosen', ['h', 'p'], 'c'),
      call('Chosen', ['c', 'r'], 'd'),
      call('Linear', ['d', ...weights, 'b'], 'y', { width }),
    ];
    const report = await compare(build(nodes, [linear, chosen]));
    expect(report.whole).toBeUndefined();
    expect(products(report).every(({ where }) => where === 'msd')).toBe(true);
    expect(report.nodes.find(({ opType }) => opType === 'Neg')).toMatchObject({
      inside: 'c/y/else_branch',
      where: 'ort',
    });
  });

  it('that cannot be put in stay calls, and go to ONNX Runtime', async () => {
    // A reference in a subgraph.
    const inner: FunctionSpec = {
      name: 'Inner',
      domain: DOMAIN,
      inputs: ['x', 'flag'],
      outputs: ['y'],
      attributes: ['slope'],
      nodes: [
        {
          ...op('If', ['flag'], 'y'),
          attributes: Object.fromEntries(
            ['then_branch', 'else_branch'].map((branch) => [
              branch,
              {
                graph: {
                  nodes: [op('LeakyRelu', ['x'], 'r', { alpha: { reference: 'slope', type: FLOAT } })],
                  inputs: [],
                  outputs: [{ name: 'r', dtype: 'float32' as const }],
                },
              },
            ]),
          ),
        },
      ],
      opsets: { '': 21 },
    };
    const flag: NodeSpec = {
      opType: 'Constant',
      inputs: [],
      outputs: ['flag'],
      attributes: { value: { tensor: { name: '', dtype: 'bool', dims: [], data: Uint8Array.of(1) } } },
    };
    const nodes = [
      flag,
      call('Inner', ['x', 'flag'], 'h', { slope: { float: 0.1 } }),
      call('Linear', ['h', ...weights, 'b'], 'y', { width }),
    ];
    const report = await compare(build(nodes, [linear, inner]));
    expect(report.nodes.find(({ opType }) => opType === 'Inner')).toMatchObject({ where: 'ort' });
    expect(products(report).every(({ where }) => where === 'msd')).toBe(true);
  });

  it('are refused if they call themselves, and not put in without end', async () => {
    const twice = (name: string, of: string): FunctionSpec => ({
      name,
      domain: DOMAIN,
      inputs: ['x'],
      outputs: ['y'],
      nodes: of === '' ? [op('Relu', ['x'], 'y')] : [call(of, ['x'], 'h'), call(of, ['h'], 'y')],
      opsets: { '': 21, [DOMAIN]: 1 },
    });
    const names = Array.from({ length: 40 }, (_, i) => `F${i}`);
    const chain = (last: string): Uint8Array =>
      build(
        [call('F0', ['x'], 'y')],
        names.map((name, i) => twice(name, names[i + 1] ?? last)),
      );
    await expect(session(chain('F0'))).rejects.toThrow('do they call themselves?');
    const { graph } = new Branches(readModel(bytesSource(chain('')))).whole().all[0]!;
    expect(graph.nodes.length).toBeGreaterThan(10);
    expect(graph.nodes.length).toBeLessThan(200_000);
  });
});
