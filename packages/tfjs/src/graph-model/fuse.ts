/** What follows a product and can be done with it: one Reshape, the bias, an activation; each with one reader only. */
import type { Constants } from '../weights/source.ts';
import { ACTIVATIONS, HAS_PARAMETER, type MsdOp, rootOf, type Use } from './recognise.ts';
import { type NodeDef, parseInput } from './topology.ts';

export interface Epilogue {
  /** The node whose name the fused one takes. */
  readonly last: NodeDef;
  /** Nodes that are gone, `last` aside. */
  readonly inner: readonly NodeDef[];
  readonly bias?: string;
  readonly activation?: string;
  readonly alpha?: number;
  readonly slopes?: string;
  /** Input with the shape of a Reshape between product and bias, or at the end. */
  readonly shape?: string;
  /** The Reshape comes before the bias. */
  readonly shapeFirst?: true;
}

/** Those that can end with a bias and an activation. */
const ENDS: readonly MsdOp[] = ['MsdMatMul', 'MsdConv2D', 'MsdDepthwiseConv2D'];

export function epilogueOf(use: Use, constants: Constants): Epilogue {
  const { scope, view } = use;
  let epilogue: Epilogue = {
    last: use.node,
    inner: [],
    ...(use.bias !== undefined && { bias: use.bias }),
    ...(use.activation !== undefined && { activation: use.activation }),
    ...(use.alpha !== undefined && { alpha: use.alpha }),
    ...(use.slopes !== undefined && { slopes: use.slopes }),
  };
  if (!ENDS.includes(use.op) || view.kind !== 'matrix') return epilogue;
  if (use.slopes !== undefined) return epilogue; // they broadcast against the product as it is
  for (;;) {
    const { last } = epilogue;
    const readers = scope.consumers.get(last.name) ?? [];
    const [next] = readers;
    if (readers.length !== 1 || !next || scope.outputs.has(last.name)) return epilogue;
    const step = stepOf(next, last, epilogue, use, constants, view.N);
    if (!step) return epilogue;
    epilogue = { ...epilogue, ...step, last: next, inner: [...epilogue.inner, last] };
  }
}

function stepOf(
  next: NodeDef,
  last: NodeDef,
  { bias, activation, shape }: Epilogue,
  { op, scope, contracted }: Use,
  constants: Constants,
  N: number,
): Partial<Epilogue> | undefined {
  const inputs = (next.input ?? []).filter((input) => !input.startsWith('^'));
  if (inputs.length !== (next.input ?? []).length) return undefined; // control inputs keep their order
  const own = inputs.filter((input) => parseInput(input).node === last.name);
  if (own.length !== 1) return undefined;
  if (
    next.op === 'Reshape' &&
    op === 'MsdMatMul' &&
    shape === undefined &&
    contracted === undefined &&
    own[0] === inputs[0]
  )
    return { shape: inputs[1]! };
  const other = inputs.find((input) => input !== own[0]);
  const isSum = next.op === 'BiasAdd' || next.op === 'Add' || next.op === 'AddV2';
  if (isSum && bias === undefined && activation === undefined && other !== undefined && contracted === undefined) {
    const constant = constants.get(rootOf(scope, other) ?? '');
    const isVector =
      constant?.dtype === 'float32' &&
      constant.shape.at(-1) === N &&
      constant.shape.every((dim, i) => dim === 1 || i === constant.shape.length - 1);
    return isVector && constant.shape.length === 1
      ? { bias: other, ...(shape !== undefined && { shapeFirst: true }) }
      : undefined;
  }
  if (Object.hasOwn(ACTIVATIONS, next.op) && activation === undefined) {
    const following = ACTIVATIONS[next.op]!;
    return HAS_PARAMETER.includes(following) ? undefined : { activation: following };
  }
  return undefined;
}
