/** Loops as the rest of the graph's code knows them. Only pages whose models have loops download what takes and runs them. */
import { onDemand } from '../../on-demand.ts';
import type { Tensor } from '../../tf.ts';
import { type NodeDef, numberAttr, type Topology } from '../topology.ts';

/** The op that runs a whole loop. */
export const LOOP_OP = 'MsdRecurrent';

/** Packed matrices, its first inputs. */
export const matrixCount = (node: NodeDef): number => (node.op === LOOP_OP ? (numberAttr(node, 'matrices') ?? 0) : 0);

const code = /* @__PURE__ */ onDemand(() => import('./code.ts'));

const LOOPS: ReadonlySet<unknown> = /* @__PURE__ */ new Set(['LoopCond', 'While', 'StatelessWhile', LOOP_OP]);

/** Whatever it may turn out to be: nobody has looked at it yet. */
export function hasLoops(topology: unknown): boolean {
  const { node, library } = (topology ?? {}) as Partial<Topology>;
  const bodies = Array.isArray(library?.function) ? library.function : [];
  const lists: unknown[] = [node, ...bodies.map((body) => body?.nodeDef)];
  return lists.some((nodes) => Array.isArray(nodes) && nodes.some((own: Partial<NodeDef>) => LOOPS.has(own?.op)));
}

/** Before a graph is rewritten. */
export const prepareLoops = async (topology: unknown): Promise<void> => {
  if (hasLoops(topology)) await code.prepare();
};

/** `undefined` where no graph with a loop has been prepared. */
export const loopCode = (): typeof import('./code.ts') | undefined => code.get();

/** Models that tfjs loads by itself may come before the code: then the result is a promise, which executeAsync awaits. */
export function runLoop(node: Parameters<typeof import('./code.ts')['loopOp']>[0]): Tensor[] | Promise<Tensor[]> {
  const now = code.get();
  return now ? now.loopOp(node) : code.prepare().then(() => code.get()!.loopOp(node));
}
