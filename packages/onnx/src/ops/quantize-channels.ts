/** Activations whose codes have a scale for each channel of an axis: what ONNX calls quantization per axis. */
import { elementwise } from '@msd/core/nn';
import { dataTypeName, FLOAT32, INT8, INT16, UINT8, UINT16 } from '../data-types.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { Expression } from './expression.ts';
import { emitOp, part } from './lowering.ts';
import type { NodeView } from './operator.ts';

/** Scales and zero points [N] of the file, and the axis that has N channels. */
export interface Channels {
  readonly scales: string;
  /** '' = all of them 0. */
  readonly zeroPoints: string;
  readonly axis: number;
  readonly rank: number;
  readonly N: number;
}

const CODES: ReadonlySet<number> = /* @__PURE__ */ new Set([UINT8, INT8, UINT16, INT16]);

/** Those of a QuantizeLinear or DequantizeLinear of `x`, or why MSD does not have them; `undefined` if there is one scale, or none. */
export function channelsOf(view: NodeView, matcher: Matcher, what: string, x: string): Channels | string | undefined {
  const [, s = '', z = ''] = view.node.inputs;
  const [scales, zeros] = [matcher.tensor(s), matcher.tensor(z)];
  const [N = 0] = scales?.dims ?? [];
  if (scales?.dims.length !== 1 || N < 2 || view.int('block_size', 0) !== 0) return undefined;
  // Of the file: ONNX Runtime does it once.
  if (matcher.isConstant(x)) return undefined;
  const dims = matcher.info(x)?.dims;
  if (!dims) return `${what} has a scale for each channel, and an unknown number of dimensions`;
  const given = view.int('axis', 1);
  const axis = given < 0 ? given + dims.length : given;
  if (!(axis >= 0 && axis < dims.length)) return `axis ${given} of ${dims.length} dimensions`;
  if (scales.elemType !== FLOAT32) return `scales of ${what} are ${dataTypeName(scales.elemType)}`;
  if (z !== '' && zeros?.dims.join() !== `${N}`) return `the zero points of ${what} are not ${N} constants`;
  if (zeros && !CODES.has(zeros.elemType)) return `zero points of ${what} are ${dataTypeName(zeros.elemType)}`;
  return { scales: s, zeroPoints: z, axis, rank: dims.length, N };
}

/** @param build of an element, its scale and its zero point */
export function matchChannels(
  view: NodeView,
  matcher: Matcher,
  x: string,
  { scales, zeroPoints, axis, rank, N }: Channels,
  build: (to: Expression, x: number, scale: number, zeroPoint: number | undefined) => void,
): Match {
  const [y = ''] = view.node.outputs;
  const constants = zeroPoints === '' ? [scales] : [scales, zeroPoints];
  const expression = new Expression(1 + constants.length);
  build(expression, 0, 1, zeroPoints === '' ? undefined : 2);
  const { op } = expression;
  const along = [N, ...new Array<number>(rank - axis - 1).fill(1)];
  return {
    op: 'elementwise',
    place: 'device',
    nodes: [view.node],
    inputs: [x],
    outputs: [y],
    resources: matcher.constants([x, ...constants]),
    lower(to) {
      const { dims } = to.info(x);
      if (dims[axis] !== N) view.fail('scales', `${dims[axis]} along axis ${axis} of [${dims.join(', ')}]`, `${N}`);
      emitOp(to, elementwise, op, [to.slot(x), ...constants.map((name) => part(to.slot(name), 0, along))], [y]);
    },
  };
}
