/** Normalizations of rows. */
import { normOnWasm as normSpec } from '@msd/core/nn';
import { FLOAT32 } from '../data-types.ts';
import type { Info } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { fetched } from './late.ts';
import { emitOp } from './lowering.ts';
import { axisOf, type NodeView, type Operator } from './operator.ts';

type Inputs = readonly (Info | undefined)[];

/** The result has the type of x; of a norm without a mean, that of its scale. */
const typed = (x: Info | undefined, scale: Info | undefined, kind: Roles['kind']): Info | undefined =>
  x && { elemType: (kind === 'rms' && scale?.elemType) || x.elemType, dims: x.dims };

/** The result, then mean and inverse standard deviation with the normalized dimensions as 1. */
function inferNorm(kind: Roles['kind'], node: NodeView, [x, scale]: Inputs): (Info | undefined)[] {
  const result = typed(x, scale, kind);
  if (node.node.outputs.length === 1) return [result];
  const axis = x?.dims && axisOf(node, node.int('axis', -1), x.dims.length);
  const dims = x?.dims?.map((dim, i) => (i >= axis! ? 1 : dim));
  return node.node.outputs.map((_, i) => (i === 0 ? result : { elemType: FLOAT32, dims }));
}

/** The result; mean and inverse standard deviation; the sum of the operands. */
function inferSkip(node: NodeView, [x]: Inputs): (Info | undefined)[] {
  const whole = x && { elemType: x.elemType, dims: x.dims };
  const dims = x?.dims?.toSpliced(-1, 1, 1);
  return node.node.outputs.map((_, i) => (i === 0 || i === 3 ? whole : { elemType: FLOAT32, dims }));
}

/** The operands of a norm by their roles; '' = absent. */
interface Roles {
  readonly kind: 'layer' | 'rms';
  readonly scale: string;
  readonly bias: string;
  readonly skip: string;
  readonly skipBias: string;
  /** Names of the extra results. */
  readonly mean: string;
  readonly invStdDev: string;
  readonly sum: string;
}

function matchNorm(
  view: NodeView,
  matcher: Matcher,
  axisAttribute: boolean,
  epsilon: number,
  roles: Roles,
): Match | string {
  const { node } = view;
  const { kind, scale, bias, skip, skipBias, mean, invStdDev, sum } = roles;
  const [x = ''] = node.inputs;
  for (const [what, name] of Object.entries({ x, scale, bias, skip, skipBias })) {
    const refused = name === '' ? undefined : matcher.notFloat(what, name);
    if (refused !== undefined) return refused;
  }
  if (kind === 'rms' && mean !== '') return 'the mean is an output';
  if (!(epsilon >= 0)) return `epsilon ${epsilon}`;
  if (view.int('stash_type', 1) !== 1) return `stash_type ${view.int('stash_type', 1)}`;
  const axis = axisAttribute ? view.int('axis', -1) : -1;
  const inputs = [x, scale, bias, skip, skipBias];
  const outputs = [node.outputs[0] ?? '', mean, invStdDev, sum];
  return {
    op: 'norm',
    place: 'device',
    nodes: [node],
    inputs,
    outputs,
    resources: matcher.constants(inputs),
    lower(to) {
      const rank = to.info(x).dims.length;
      const op = {
        kind,
        axes: rank - axisOf(view, axis, rank),
        epsilon,
        mean: mean !== '',
        invStdDev: invStdDev !== '',
        sum: sum !== '',
      };
      const slots = inputs.map((name) => (name === '' ? undefined : to.slot(name)));
      const names = [outputs[0]!, ...outputs.slice(1).filter((name) => name !== '')];
      const normalized = slots[0]!.dims.slice(-op.axes);
      const isRepeated = slots.slice(1, 3).some((slot) => slot && !isAlong(slot.dims, normalized));
      if (isRepeated && skip === '') fetched('repeatedNorm')(to, view, op, slots, names);
      else emitOp(to, normSpec, op, slots, names);
    },
  };
}

/** Whether there is one number for each element of a row. Ones in front do not count. */
function isAlong(dims: readonly number[], normalized: readonly number[]): boolean {
  const [own, wanted] = [dims, normalized].map((all) => all.join().replace(/^(1,)+/, ''));
  return own === wanted;
}

const NONE = { scale: '', bias: '', skip: '', skipBias: '', mean: '', invStdDev: '', sum: '' };

/** The operator that has x, scale and bias, and an axis. */
function plain(name: string, kind: Roles['kind'], extras: (outputs: readonly string[]) => Partial<Roles>): Operator {
  return {
    name,
    attributes: ['axis', 'epsilon', 'stash_type'],
    infer: (node, inputs) => inferNorm(kind, node, inputs),
    match(view, matcher) {
      const [, scale = '', bias = ''] = view.node.inputs;
      const roles = { ...NONE, kind, scale, bias, ...extras(view.node.outputs) };
      return matchNorm(view, matcher, true, view.float('epsilon', 1e-5), roles);
    },
  };
}

export const normOperators: readonly Operator[] = [
  plain('LayerNormalization', 'layer', ([, mean = '', invStdDev = '']) => ({ mean, invStdDev })),
  plain('RMSNormalization', 'rms', () => ({})),
  plain('SimplifiedLayerNormalization', 'rms', ([, invStdDev = '']) => ({ invStdDev })),
  {
    name: 'com.microsoft.SkipLayerNormalization',
    attributes: ['epsilon'],
    infer: inferSkip,
    match(view, matcher) {
      const [, skip = '', scale = '', bias = '', skipBias = ''] = view.node.inputs;
      const [, mean = '', invStdDev = '', sum = ''] = view.node.outputs;
      const roles: Roles = { kind: 'layer', scale, bias, skip, skipBias, mean, invStdDev, sum };
      return matchNorm(view, matcher, false, view.float('epsilon', 1e-12), roles);
    },
  },
  {
    name: 'com.microsoft.SkipSimplifiedLayerNormalization',
    attributes: ['epsilon'],
    infer: inferSkip,
    match(view, matcher) {
      const [, skip = '', scale = '', skipBias = ''] = view.node.inputs;
      const [, mean = '', invStdDev = '', sum = ''] = view.node.outputs;
      const roles: Roles = { kind: 'rms', scale, bias: '', skip, skipBias, mean, invStdDev, sum };
      return matchNorm(view, matcher, false, view.float('epsilon', 1e-12), roles);
    },
  },
];
