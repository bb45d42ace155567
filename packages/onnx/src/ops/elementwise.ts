/** Operators that work element by element, operands repeated to one shape: those of nearly every graph. Others: elementwise-more.ts. */
import type { FunctionId } from '@msd/core/nn';
import { isCarried } from '../carried.ts';
import { BOOL, dataTypeName, FLOAT16, FLOAT32, INT32, INT64, isFloat } from '../data-types.ts';
import type { GraphNode } from '../ir/graph.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { arithmeticOperators } from './arithmetic.ts';
import { expressionMatch } from './expression.ts';
import { type NodeView, type Operator, operatorName } from './operator.ts';
import { aliasMatch } from './shape.ts';

export type Kind = 'f32' | 'bool' | 'number';

/** How a node becomes one function: the types of its operands, and the numbers beside them. */
export interface Mapping {
  readonly fn: FunctionId;
  readonly operands: readonly Kind[];
  readonly values?: (view: NodeView) => readonly number[];
  readonly attributes?: readonly string[];
}

export const unary = (fn: FunctionId): Mapping => ({ fn, operands: ['f32'] });
export const binary = (fn: FunctionId): Mapping => ({ fn, operands: ['f32', 'f32'] });
function refusedOperand(matcher: Matcher, what: string, name: string, kind: Kind): string | undefined {
  const elemType = matcher.info(name)?.elemType ?? 0;
  if (isFloat(elemType) && kind !== 'bool') return matcher.notFloat(what, name);
  if (kind === 'number' && isWide(matcher, name)) return `${what} is int64`;
  const isFine = kind === 'bool' ? elemType === BOOL : kind === 'number' && matcher.isInteger(name);
  return isFine ? undefined : `${what} is ${elemType === 0 ? 'of unknown type' : dataTypeName(elemType)}`;
}

/** int64 beyond 32 bits would not fit on the device; what JavaScript has at hand are masks, positions and sizes. */
function isWide(matcher: Matcher, name: string): boolean {
  return matcher.info(name)?.elemType === INT64 && !matcher.isConstant(name) && !matcher.isHostOperand(name);
}

/** The node itself as one function. */
function matchMapping(mapping: Mapping): Operator['match'] {
  return (view, matcher) => {
    const { node } = view;
    const names = node.inputs.slice(0, mapping.operands.length);
    for (const [i, kind] of mapping.operands.entries()) {
      const refused = refusedOperand(matcher, `operand ${i}`, names[i] ?? '', kind);
      if (refused !== undefined) return refused;
    }
    const values = mapping.values?.(view);
    return expressionMatch(matcher, [node], names, (to, args) => to.add(mapping.fn, args, values));
  };
}

function matchCast(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [x = ''] = node.inputs;
  const from = matcher.info(x)?.elemType ?? 0;
  const to = view.int('to', 0);
  const isF32 = isFloat(from) || isCarried(from);
  if (!isF32 && ![BOOL, INT32, INT64].includes(from)) return `x is ${dataTypeName(from)}`;
  if (!isFloat(to) && to !== BOOL) return `to ${dataTypeName(to)}`;
  if (isWide(matcher, x)) return 'x is int64';
  const isHalf = to === FLOAT16 && from !== FLOAT16 && isCastBack(matcher, node);
  if (isF32 && isFloat(to) && !isHalf) return sameFloats(view, matcher);
  const refused = isF32 ? matcher.notMovable(x) : undefined;
  if (refused !== undefined) return refused;
  return expressionMatch(matcher, [node], [x], (expression, args) => {
    if (!isFloat(to)) return expression.add('CastToBool', args);
    const floats = isF32 ? args[0]! : expression.add('CastToF32', args);
    return isHalf ? expression.add('RoundToFp16', [floats]) : floats;
  });
}

/**
 * Does the model itself cast a float16 to a type of more bits at once? ONNX Runtime rounds such a value. Between operators of float16 it has
 * Casts of its own, which it takes out again: nothing is rounded there.
 */
function isCastBack(matcher: Matcher, { outputs: [name = ''] }: GraphNode): boolean {
  const next = matcher.graph.consumers.get(name) ?? [];
  return next.some((node) => operatorName(node) === 'Cast' && WIDER.includes(matcher.view(node).int('to', 0)));
}

const WIDER: readonly number[] = [FLOAT32, INT32, INT64];

/** The device has one type for all of them: nothing is rounded but what leaves, and what {@link isCastBack}. */
export const sameFloats = /* @__PURE__ */ aliasMatch(
  'cast',
  (_, [x]) => [x],
  () => [],
);

/** @param own by name: what is done otherwise */
export function withMatches(
  operators: readonly Operator[],
  mappings: Readonly<Record<string, Mapping>>,
  own: Readonly<Record<string, Pick<Operator, 'match' | 'attributes'>>>,
): readonly Operator[] {
  return operators.map((operator) => {
    const mapping = mappings[operator.name];
    const mapped = mapping && { match: matchMapping(mapping), attributes: mapping.attributes ?? [] };
    return { ...operator, ...(own[operator.name] ?? mapped) };
  });
}

export const elementwiseOperators: readonly Operator[] = /* @__PURE__ */ withMatches(
  arithmeticOperators,
  {
    Add: binary('Add'),
    Sub: binary('Sub'),
    Mul: binary('Mul'),
    Div: binary('Div'),
    Sigmoid: unary('Sigmoid'),
  },
  { Cast: { match: matchCast, attributes: ['to', 'saturate'] } },
);
