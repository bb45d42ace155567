import { type NodeDef, numberAttr } from '../topology.ts';

/** The op that runs a whole loop. */
export const LOOP_OP = 'MsdRecurrent';

/** Packed matrices, its first inputs. */
export const matrixCount = (node: NodeDef): number => (node.op === LOOP_OP ? (numberAttr(node, 'matrices') ?? 0) : 0);
