import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OnnxFormatError } from '../src/errors.ts';
import { loadOperators } from '../src/execute/families.ts';
import { buildGraph, type Graph, type GraphNode, usesOf } from '../src/ir/graph.ts';
import { partition as partitionUnits, type Region } from '../src/plan/partition.ts';
import { shareStructures, structureOf } from '../src/plan/structure.ts';
import { unitsOf } from '../src/plan/units.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { tensorFloats } from '../src/read/tensor.ts';
import type { GraphSpec, NodeSpec } from '../src/write/index.ts';
import { model } from './models.ts';
import { ort, session } from './ort.ts';

await loadOperators();

function graphOf(spec: GraphSpec): Graph {
  return buildGraph(readModel(bytesSource(model(spec))));
}

/** A chain of single-input nodes, for graphs that only matter by their wiring. */
function wired(...nodes: [inputs: string[], outputs: string[]][]): NodeSpec[] {
  return nodes.map(([inputs, outputs], index) => ({ opType: 'Op', name: `n${index}`, inputs, outputs }));
}

const x = [{ name: 'x', dtype: 'float32' as const }];

/** Nodes are units here: what matches put together is another test's matter. */
function partition(graph: Graph, isClaimed: (node: GraphNode) => boolean): Region[] {
  return partitionUnits(graph, unitsOf(graph, new Map()), ({ nodes: [node] }) => isClaimed(node!));
}

describe('graph', () => {
  it('sorts nodes that are out of order, and keeps an order that is right', () => {
    const sorted = graphOf({
      nodes: wired([['b'], ['c']], [['x'], ['a']], [['a'], ['b']]),
      inputs: x,
      outputs: [{ name: 'c' }],
    });
    expect(sorted.nodes.map((node) => node.name)).toEqual(['n1', 'n2', 'n0']);
    const kept = graphOf({
      nodes: wired([['x'], ['a']], [['x'], ['b']], [['a'], ['c']]),
      inputs: x,
      outputs: [{ name: 'c' }],
    });
    expect(kept.nodes.map((node) => node.name)).toEqual(['n0', 'n1', 'n2']);
  });

  it('folds Constant nodes and initializers that are also inputs', () => {
    const data = Float32Array.of(1);
    const tensor = { name: 'v', dtype: 'float32' as const, dims: [1], data };
    const graph = graphOf({
      nodes: [
        { opType: 'Constant', inputs: [], outputs: ['c'], attributes: { value: { tensor } } },
        { opType: 'Constant', inputs: [], outputs: ['d'], attributes: { value_float: { float: 2 } } },
        { opType: 'Sum', inputs: ['x', 'c', 'd', 'w', ''], outputs: ['y'] },
      ],
      initializers: [{ ...tensor, name: 'w' }],
      inputs: [...x, { name: 'w', dtype: 'float32', dims: [1] }],
      outputs: [{ name: 'y' }],
    });
    expect(graph.nodes.length).toBe(1);
    expect([...graph.constants].map(([name, constant]) => `${name} ${constant.kind}`).sort()).toEqual([
      'c tensor',
      'd node',
      'w tensor',
    ]);
    expect(graph.inputs.map((input) => input.name)).toEqual(['x']);
  });

  it('takes the last of several definitions of a constant, as ONNX Runtime does', async () => {
    const tensor = (value: number, dims = [1]) => ({
      name: 'c',
      dtype: 'float32' as const,
      dims,
      data: new Float32Array(dims[0]!).fill(value),
    });
    const constant = (value: number): NodeSpec => ({
      opType: 'Constant',
      inputs: [],
      outputs: ['c'],
      attributes: { value: { tensor: tensor(value) } },
    });
    const add: NodeSpec = { opType: 'Add', inputs: ['x', 'c'], outputs: ['y'] };
    const io = { inputs: [{ ...x[0]!, dims: [1] }], outputs: [{ name: 'y', dtype: 'float32' as const }] };
    for (const spec of [
      { nodes: [constant(2), add], initializers: [tensor(1)], ...io },
      { nodes: [add], initializers: [tensor(1), tensor(2)], ...io },
      { nodes: [constant(1), constant(2), add], ...io },
    ]) {
      const { constants } = graphOf(spec);
      const c = constants.get('c');
      expect(c?.kind === 'tensor' && tensorFloats(c.tensor)).toEqual(Float32Array.of(2));
      const plain = await session(model(spec), 'wasm');
      const { y } = await plain.run({ x: new ort.Tensor('float32', Float32Array.of(10), [1]) });
      expect(y!.data).toEqual(Float32Array.of(12));
      await plain.release();
    }
    expect(() => graphOf({ nodes: [add], initializers: [tensor(1), tensor(1, [2])], ...io })).toThrow(
      "constant 'c', expected definitions of one type",
    );
  });

  it.each<[string, NodeSpec[], string]>([
    ['a cycle', wired([['b'], ['a']], [['a'], ['b']]), "node 'n0' (Op): inputs, expected no cycle"],
    ['an undefined name', wired([['q'], ['y']]), "node 'n0' (Op): input 'q'"],
    ['two definitions', wired([['x'], ['y']], [['x'], ['y']]), "node 'n1' (Op): output 'y', expected one definition"],
    ['an output that is an input', wired([['x'], ['x']]), "node 'n0' (Op): output 'x', expected one definition"],
    ['an undefined output', wired([['x'], ['z']]), "output 'y', expected a value of the graph"],
  ])('refuses %s', (_, nodes, message) => {
    const build = (): Graph => graphOf({ nodes, inputs: x, outputs: [{ name: 'y' }] });
    expect(build).toThrow(OnnxFormatError);
    expect(build).toThrow(message);
  });

  it('counts what subgraphs capture as uses', () => {
    const body: GraphSpec = {
      nodes: wired([['a'], ['inner']], [['inner'], ['r']]),
      inputs: [],
      outputs: [{ name: 'r', dtype: 'float32' }],
    };
    const graph = graphOf({
      nodes: [
        ...wired([['x'], ['a']]),
        {
          opType: 'If',
          inputs: ['x'],
          outputs: ['y'],
          attributes: { then_branch: { graph: body }, else_branch: { graph: body } },
        },
      ],
      inputs: x,
      outputs: [{ name: 'y' }],
    });
    expect(graph.nodes[1]!.captures).toEqual(['a']);
    expect(graph.consumers.get('a')).toEqual([graph.nodes[1]]);
  });
});

/** Random DAGs: node i takes some earlier values, may have a second output, and is claimed or not. */
const dags = fc
  .array(
    fc.record({ inputs: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }), two: fc.boolean(), claimed: fc.boolean() }),
    { minLength: 1, maxLength: 24 },
  )
  .chain((nodes) =>
    fc.record({ nodes: fc.constant(nodes), outputs: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }) }),
  );

describe('partition', () => {
  it('gives convex regions with an acyclic order, each needed node once', () => {
    fc.assert(
      fc.property(dags, ({ nodes, outputs }) => {
        const values = ['x'];
        const specs: NodeSpec[] = nodes.map((node, index) => {
          const inputs = node.inputs.map((pick) => values[pick % values.length]!);
          const own = node.two ? [`v${index}`, `u${index}`] : [`v${index}`];
          values.push(...own);
          return { opType: node.claimed ? 'Claimed' : 'Other', name: `n${index}`, inputs, outputs: own };
        });
        const made = values.slice(1);
        const wanted = [...new Set(outputs.map((pick) => made[pick % made.length]!))];
        const graph = graphOf({ nodes: specs, inputs: x, outputs: wanted.map((name) => ({ name })) });
        check(graph, wanted);
      }),
      { numRuns: 500, seed: 10 },
    );
  });

  it('does not let a pruned node cost a region', () => {
    const nodes = wired([['x'], ['a']], [['a'], ['y']], [['a'], ['unused']]);
    const graph = graphOf({ nodes, inputs: x, outputs: [{ name: 'y' }] });
    expect(partition(graph, (node) => node.name === 'n2').length).toBe(1);
  });
});

function check(graph: Graph, wanted: readonly string[]): void {
  const isClaimed = (node: GraphNode): boolean => node.opType === 'Claimed';
  const regions = partition(graph, isClaimed);
  const regionOf = new Map<GraphNode, number>();
  for (const region of regions) {
    expect(region.index).toBe(regions.indexOf(region));
    for (const node of region.nodes) {
      expect(regionOf.has(node), 'each node once').toBe(false);
      expect(isClaimed(node)).toBe(region.claimed);
      regionOf.set(node, region.index);
    }
  }
  // Every value that a region takes exists when it runs: the order is one of an acyclic quotient, so regions are convex.
  const available = new Set(['x']);
  for (const region of regions) {
    for (const name of region.inputs) expect(available.has(name), `${name} before region ${region.index}`).toBe(true);
    const inside = new Set(available);
    for (const node of region.nodes) {
      for (const name of usesOf(node)) expect(inside.has(name)).toBe(true);
      for (const name of node.outputs) inside.add(name);
    }
    for (const name of region.outputs) available.add(name);
  }
  for (const name of wanted) expect(available.has(name), `output ${name}`).toBe(true);
  for (const node of regionOf.keys()) {
    for (const name of usesOf(node)) {
      const producer = graph.producers.get(name);
      if (producer) expect(regionOf.get(producer)!).toBeLessThanOrEqual(regionOf.get(node)!);
    }
  }
}

describe('structure', () => {
  const norm = (index: number, from: string): NodeSpec[] => [
    {
      opType: 'SimplifiedLayerNormalization',
      name: `norm${index}`,
      inputs: [from, `w${index}`],
      outputs: [`h${index}`],
      attributes: { epsilon: { float: 1e-5 } },
    },
    { opType: 'Mul', name: `half${index}`, inputs: [`h${index}`, 'half'], outputs: [`i${index}`] },
    { opType: 'Gemm', name: `cut${index}`, inputs: [`i${index}`], outputs: [`o${index}`] },
  ];
  function layers(count: number, same: boolean): Graph {
    const nodes: NodeSpec[] = [];
    for (let i = 0; i < count; i++) nodes.push(...norm(i, i === 0 ? 'x' : `o${i - 1}`));
    return graphOf({
      nodes,
      initializers: [
        { name: 'half', dtype: 'float32', dims: [2], data: Float32Array.of(0.5, 0.5) },
        ...Array.from({ length: count }, (_, i) => ({
          name: `w${i}`,
          dtype: 'float32' as const,
          dims: [2],
          data: Float32Array.of(1, same ? 1 : i),
        })),
      ],
      inputs: x,
      outputs: [{ name: `o${count - 1}` }],
    });
  }
  const isClaimed = (node: GraphNode): boolean => node.opType === 'Gemm';
  function share(graph: Graph) {
    const regions = partition(graph, isClaimed).filter((region) => !region.claimed);
    return shareStructures(
      graph,
      regions.map((region) => structureOf(graph, region)),
    );
  }

  it('shares one session between layers and feeds only what differs', () => {
    const shared = share(layers(4, false));
    expect(shared.length).toBe(1);
    expect(shared[0]!.members.length).toBe(4);
    expect(shared[0]!.fed.map((position) => shared[0]!.members[0]!.lifted[position])).toEqual(['w0']);
  });

  it('feeds nothing when the constants are equal', () => {
    const shared = share(layers(3, true));
    expect(shared.map((group) => [group.members.length, group.fed])).toEqual([[3, []]]);
  });

  it('keeps regions apart that differ in attributes, wiring or constants that are not plain data', () => {
    const variant = (change: (nodes: NodeSpec[]) => NodeSpec[]): number => {
      const nodes = [...norm(0, 'x'), ...change(norm(1, 'o0'))];
      const ones = (name: string) => ({ name, dtype: 'float32' as const, dims: [2], data: Float32Array.of(1, 1) });
      const graph = graphOf({
        nodes,
        initializers: [ones('half'), ones('w0'), ones('w1')],
        inputs: x,
        outputs: [{ name: 'o1' }],
      });
      return share(graph).length;
    };
    expect(variant((nodes) => nodes)).toBe(1);
    expect(variant(([a, b, c]) => [{ ...a!, attributes: { epsilon: { float: 1e-6 } } }, b!, c!])).toBe(2);
    expect(variant(([a, b, c]) => [a!, { ...b!, inputs: ['half', 'h1'] }, c!])).toBe(2);
    expect(variant(([a, b, c]) => [a!, { ...b!, opType: 'Div' }, c!])).toBe(2);
  });
});
