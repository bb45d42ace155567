/**
 * What happens to the scores between their product and the softmax, found backwards from the softmax. Every node on the way may
 * be read by the next one only: what is taken into the attention is not there for others.
 */
import type { NodeDef } from '../topology.ts';
import { flattenedAxis, isShapeForSoftmax } from './flatten.ts';
import { type Graph, inputsOf, otherReader, producerOf, scalarOf } from './graph.ts';
import { isProduct } from './product.ts';
import type { ScoreStep } from './steps.ts';

export interface Path {
  /** The product that it begins with, and the nodes after that, in order. */
  readonly nodes: readonly NodeDef[];
  readonly steps: readonly ScoreStep[];
  /** Of the steps that have one. */
  readonly inputs: readonly string[];
}

/** Or why the scores cannot be taken; `undefined` where there are none. */
type Found = Path | { readonly reason: string; readonly product: NodeDef } | undefined;

/** Scores that are replaced by this or less are masked: nothing is left of them after a softmax. */
const MASKED = -1e4;

/** With -Infinity a row that sees nothing is NaN in stock. */
const isMask = (value: number): boolean => value <= MASKED && Number.isFinite(value);

/** The path whose last node gives `input` of `reader`. */
export function pathTo(graph: Graph, input: string | undefined, reader: NodeDef): Found {
  const node = producerOf(graph, input);
  if (!node) return undefined;
  const before = isProduct(node) ? { nodes: [], steps: [], inputs: [] } : stepTo(graph, node);
  if (!before || 'reason' in before) return before;
  const nodes = [...before.nodes, node];
  const stranger = otherReader(graph, node, reader, (other) => isShapeForSoftmax(graph, other));
  return stranger ? { reason: `the scores are also read by ${stranger}`, product: nodes[0]! } : { ...before, nodes };
}

/** What comes before a node that may be one of them, and its own step. */
function stepTo(graph: Graph, node: NodeDef): Found {
  const operands = inputsOf(node);
  const scalars = operands.map((input) => scalarOf(graph, input));
  const from = (at: number, step?: ScoreStep, extra: readonly (string | undefined)[] = []): Found => {
    const path = pathTo(graph, operands[at], node);
    if (!path || 'reason' in path) return path;
    return {
      ...path,
      steps: [...path.steps, ...(step ? [step] : [])],
      inputs: [...path.inputs, ...(extra as string[])],
    };
  };
  switch (node.op) {
    case 'Identity':
      return from(0);
    case 'Mul': {
      const at = scalars[1] === undefined ? 0 : 1;
      const by = scalars[at];
      if (by !== undefined) return scaled(from(1 - at, { kind: 'scale', by }), by);
      return refused(firstPath(from(0), from(1)), 'the scores are multiplied by a tensor');
    }
    case 'RealDiv': {
      const by = scalars[1];
      if (by !== undefined) return scaled(from(0, { kind: 'scale', by: 1 / by }), 1 / by);
      return refused(from(0), 'the scores are divided by a tensor');
    }
    case 'Tanh':
      return from(0, { kind: 'tanh' });
    case 'Add':
    case 'AddV2':
      return firstPath(from(0, { kind: 'add' }, [operands[1]]), from(1, { kind: 'add' }, [operands[0]]));
    case 'Select':
    case 'SelectV2': {
      const at = scalars[1] === undefined ? 2 : 1;
      const value = scalars[at];
      if (value === undefined) return undefined;
      const path = from(3 - at, { kind: 'fill', value, where: at === 1 }, [operands[0]]);
      return isMask(value) ? path : refused(path, `the scores are replaced by ${value}`);
    }
    case 'Reshape': {
      const axis = flattenedAxis(graph, node);
      return axis === undefined ? from(0, { kind: 'reshape' }, [operands[1]]) : from(0, { kind: 'flatten', axis });
    }
    default:
      return undefined;
  }
}

const firstPath = (left: Found, right: Found): Found => {
  if (left && !('reason' in left)) return left;
  return right && !('reason' in right) ? right : (left ?? right);
};

const scaled = (found: Found, by: number): Found =>
  Number.isFinite(by) ? found : refused(found, `the scores are multiplied by ${by}`);

const refused = (found: Found, reason: string): Found =>
  found && ('reason' in found ? found : { reason, product: found.nodes[0]! });
