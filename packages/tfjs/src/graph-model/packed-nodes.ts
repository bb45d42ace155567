/** Nodes of a graph that are MSD's already: what they hold, for the reports of models that were saved or accelerated before. */
import { UnsupportedError } from '@msd/core';
import { shown } from '../errors.ts';
import type { NodeReport } from '../report.ts';
import { sizeOf } from '../shapes.ts';
import { int32Length, type QuantizedSpec, realShape } from '../spec.ts';
import { ATTENTION_OP } from './attention/steps.ts';
import { LOOP_OP, matrixCount } from './loops/steps.ts';
import { inputCount, isMsdOp } from './ops.ts';
import { rootOf } from './recognise.ts';
import { GATES_OP } from './recurrent/run.ts';
import { scopesOf } from './scopes.ts';
import { specOfNode } from './spec-attr.ts';
import { type NodeDef, parseInput, type Topology } from './topology.ts';

export interface PackedNode {
  readonly node: NodeDef;
  /** Name of the constant that it reads. */
  readonly constant: string | undefined;
  /** The attribute that says what it holds. */
  readonly attr: string;
}

/** In the graph and the bodies of its functions. */
export function packedNodesOf(topology: Topology): PackedNode[] {
  return scopesOf(topology, []).all.flatMap((scope) =>
    [...scope.nodes.values()].flatMap((node) => {
      const at = (input: number, attr: string) => ({ node, constant: rootOf(scope, node.input?.[input] ?? ''), attr });
      if (isMsdOp(node.op)) return [at(inputCount(node.op), 'spec')];
      return Array.from({ length: Math.min(matrixCount(node), node.input?.length ?? 0) }, (_, i) => at(i, `spec${i}`));
    }),
  );
}

/** Names of packed constants, by graph: it is looked through once. */
const constants = /* @__PURE__ */ new WeakMap<object, ReadonlySet<string | undefined>>();

/**
 * Weights can be asked for like any node. Packed ones are integers whose shape and order are MSD's.
 *
 * @throws {@link UnsupportedError} for such a weight
 */
export function checkOutputs(model: object, outputs: unknown, where: string): void {
  if (outputs === undefined) return;
  const { artifacts } = model as { readonly artifacts?: { readonly modelTopology?: unknown } };
  const topology = artifacts?.modelTopology as Topology | undefined;
  if (!Array.isArray(topology?.node)) return;
  let packed = constants.get(topology);
  if (!packed) constants.set(topology, (packed = new Set(packedNodesOf(topology).map(({ constant }) => constant))));
  for (const output of [outputs].flat())
    if (typeof output === 'string' && packed.has(parseInput(output).node))
      throw new UnsupportedError(
        `${where}: output ${shown(output)}, expected a result of the model, got a weight that is packed. Its floats are in a model that tf.loadGraphModel loads, or come back with restore() of accelerate.`,
      );
}

export interface PackedBefore {
  readonly nodes: readonly NodeReport[];
  /** Bytes that tfjs would keep instead, by constant. */
  readonly stockBytes: ReadonlyMap<string, number>;
}

/** @param lengthOf elements of a constant's tensor */
export function packedBefore(topology: Topology, lengthOf: (constant: string) => number | undefined): PackedBefore {
  const specs = new Map<string, QuantizedSpec>();
  const found = packedNodesOf(topology).flatMap(({ node, constant = '', attr }) => {
    const length = lengthOf(constant);
    if (length === undefined) return [];
    const spec = specOfNode(node, length, attr);
    specs.set(constant, spec);
    return [{ node, constant, spec }];
  });
  const nodes = found.map(({ node: { name, op }, constant, spec }): NodeReport => {
    const byteLength = 4 * int32Length(spec);
    const bytes = { bytesBefore: byteLength, bytesAfter: byteLength };
    const sharedBy = found.filter((other) => other.constant === constant).length;
    return {
      name,
      op,
      where: 'msd',
      msdOp: op,
      weights: { spec, how: 'stored integers kept', error: 0, ...bytes, sharedBy },
    };
  });
  const bodies = (topology.library?.function ?? []).flatMap(({ nodeDef = [] }) => nodeDef);
  for (const { name, op } of [...topology.node, ...bodies])
    if (op === ATTENTION_OP || op === GATES_OP || (op === LOOP_OP && !found.some(({ node }) => node.name === name)))
      nodes.push({ name, op, where: 'msd', msdOp: op });
  return { nodes, stockBytes: new Map([...specs].map(([name, spec]) => [name, 4 * sizeOf(realShape(spec))])) };
}
