/** Constants of more dimensions than x give them to the result of a chain of nodes, as single nodes do: onnxruntime-web is the oracle. */
import { describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import { type GraphSpec, type NodeSpec, type TensorSpec, writeModel } from '../src/write/index.ts';
import { gaussian, random } from './models.ts';
import { floats, session, tensor } from './ort.ts';

const SIZE = 8;
const node = (opType: string, inputs: string[], output: string, attributes?: NodeSpec['attributes']): NodeSpec => ({
  opType,
  name: output,
  inputs,
  outputs: [output],
  ...(attributes && { attributes }),
});
const mean = (x: string, y: string): NodeSpec => node('ReduceMean', [x], y, { axes: { ints: [-1] } });

interface Chain {
  readonly nodes: readonly NodeSpec[];
  /** By name; one of them gets more dimensions. */
  readonly numbers: Readonly<Record<string, number>>;
  /** [SIZE] */
  readonly rows?: readonly string[];
}

const chains: Readonly<Record<string, Chain>> = {
  'Gelu through erf': {
    nodes: [
      node('Div', ['x', 'root'], 'a'),
      node('Erf', ['a'], 'b'),
      node('Add', ['b', 'one'], 'c'),
      node('Mul', ['x', 'c'], 'd'),
      node('Mul', ['d', 'half'], 'y'),
    ],
    numbers: { root: Math.SQRT2, one: 1, half: 0.5 },
  },
  QuickGelu: {
    nodes: [node('Mul', ['x', 'factor'], 'a'), node('Sigmoid', ['a'], 'b'), node('Mul', ['x', 'b'], 'y')],
    numbers: { factor: 1.702 },
  },
  'a norm of layers': {
    nodes: [
      mean('x', 'm'),
      node('Sub', ['x', 'm'], 'd'),
      node('Pow', ['d', 'two'], 's'),
      mean('s', 'v'),
      node('Add', ['v', 'epsilon'], 'e'),
      node('Sqrt', ['e'], 'r'),
      node('Div', ['d', 'r'], 'n'),
      node('Mul', ['n', 'scale'], 'k'),
      node('Add', ['k', 'bias'], 'y'),
    ],
    numbers: { two: 2, epsilon: 1e-5 },
    rows: ['scale', 'bias'],
  },
};

describe.each(Object.entries(chains))('%s', (_, { nodes, numbers, rows = [] }) => {
  const constants = [...Object.keys(numbers), ...rows];

  /** A model where one of the constants has this many dimensions. */
  function bytesOf(wide: string, rank: number): Uint8Array {
    const dimsOf = (name: string, own: readonly number[]): number[] =>
      name === wide ? [...new Array<number>(rank - own.length).fill(1), ...own] : [...own];
    const initializers: TensorSpec[] = [
      ...Object.entries(numbers).map(
        ([name, value]): TensorSpec => ({
          name,
          dtype: 'float32',
          dims: dimsOf(name, []),
          data: Float32Array.of(value),
        }),
      ),
      ...rows.map(
        (name, i): TensorSpec => ({
          name,
          dtype: 'float32',
          dims: dimsOf(name, [SIZE]),
          data: gaussian(random(i + 3), SIZE),
        }),
      ),
    ];
    const graph: GraphSpec = {
      nodes: [...nodes],
      initializers,
      inputs: [{ name: 'x', dtype: 'float32', dims: ['n', SIZE] }],
      outputs: [{ name: 'y', dtype: 'float32' }],
    };
    return writeModel({ graph, opsets: { '': 17 } });
  }

  it.each(constants.flatMap((wide) => [2, 3, 4].map((rank) => [wide, rank] as const)))(
    '%s of %d dimensions',
    async (wide, rank) => {
      const bytes = bytesOf(wide, rank);
      const own = await session(bytes, { name: 'msd', claim: 'all', debug: true });
      // Its own optimizer has the same fusions.
      const plain = await session(bytes, 'wasm', { graphOptimizationLevel: 'disabled' });
      const feeds = { x: tensor(gaussian(random(7), 3 * SIZE), [3, SIZE]) };
      const [got, expected] = [(await own.run(feeds)).y!, (await plain.run(feeds)).y!];
      expect(expected.dims).toEqual([...new Array<number>(rank - 2).fill(1), 3, SIZE]);
      expect(got.dims).toEqual(expected.dims);
      for (const [i, value] of floats(expected).entries())
        expect(Math.abs(floats(got)[i]! - value)).toBeLessThanOrEqual(64 * 2 ** -24 * 16);
      expect(reportOf(own)!.foreignSessions).toBe(0);
      await own.release();
      await plain.release();
    },
  );
});
