/**
 * What the schema of an operator fixes, whoever runs it: how many operands and results a node may have, and of what kind an attribute
 * is. ONNX Runtime refuses a node that differs, so none is taken. The test asks ONNX Runtime for every line. Here are the operators that
 * come without the family of graphs; all others are in schema-more.ts.
 */
import { OnnxFormatError } from '../errors.ts';
import { describeNode } from '../ir/graph.ts';
import type { NodeRecord } from '../read/node.ts';

/**
 * Operands `>` results, `2-4` = two to four, `1-` = one or more; behind `;` what holds from a later operator set on. Before operator
 * set 7 nothing is known.
 */
const COUNTS: Readonly<Record<string, string>> = {
  '1 > 1': 'Cast Identity Shape Sigmoid Size',
  '2 > 1': 'Add Div Gather Mul RMSNormalization Sub',
  '2 > 1-2': 'SimplifiedLayerNormalization',
  '2-3 > 1-3': 'LayerNormalization',
  '3-4 > 1-4': 'com.microsoft.SkipSimplifiedLayerNormalization',
  '3-5 > 1-4': 'com.microsoft.SkipLayerNormalization',
  '3-6 > 1': 'com.microsoft.MatMulNBits',
  '6-21 > 1': 'com.microsoft.QMoE',
  '7-16 > 1-4': 'com.microsoft.GroupQueryAttention',
  '1 > 1; 1-2 > 1 from 13': 'ReduceSum',
  '1 > 1; 1-2 > 1 from 18': 'ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare',
};

interface Range {
  readonly least: number;
  readonly most: number;
}

interface Counts {
  readonly from: number;
  readonly inputs: Range;
  readonly outputs: Range;
}

/** Of the table above, and of those that families bring. */
const schemas: Map<string, readonly Counts[]> = /* @__PURE__ */ new Map(/* @__PURE__ */ countsOf(COUNTS));

function countsOf(table: Readonly<Record<string, string>>): (readonly [string, readonly Counts[]])[] {
  return Object.entries(table).flatMap(([text, names]) => {
    const counts = text.split('; ').map(parseCounts);
    return names.split(' ').map((name) => [name, counts] as const);
  });
}

/** Operators whose counts are known. */
export const knownCounts = (): ReadonlySet<string> => new Set(schemas.keys());

function parseCounts(text: string): Counts {
  const [counts = '', from = '7'] = text.split(' from ');
  const [inputs = '', outputs = ''] = counts.split(' > ');
  return { from: Number(from), inputs: parseRange(inputs), outputs: parseRange(outputs) };
}

function parseRange(text: string): Range {
  const [least = '', most = least] = text.split('-');
  return { least: Number(least), most: most === '' ? Number.POSITIVE_INFINITY : Number(most) };
}

/**
 * Why a node is none of its operator, by the numbers of its operands and results; `undefined` if it may be one.
 *
 * @param name with the domain, as in the table of operators.
 * @param opset version of ONNX's own operator set.
 */
export function wrongCount(name: string, { inputs, outputs }: NodeRecord, opset: number): string | undefined {
  const counts = schemas.get(name)?.findLast(({ from }) => name.includes('.') || opset >= from);
  if (!counts) return undefined;
  // Of ONNX's own operators, only a Loop may leave out one that has to be counted.
  const gap = name.includes('.') || name === 'Loop' ? -1 : inputs.slice(0, counts.inputs.least).indexOf('');
  if (gap >= 0) return `input ${gap} is left out`;
  return wrong('inputs', inputs.length, counts.inputs) ?? wrong('outputs', outputs.length, counts.outputs);
}

function wrong(what: string, count: number, { least, most }: Range): string | undefined {
  if (count >= least && count <= most) return undefined;
  const expected =
    least === most ? `${least}` : most === Number.POSITIVE_INFINITY ? `${least} or more` : `${least} to ${most}`;
  return `${count} ${what}, expected ${expected}`;
}

/** What attributes are, by name: no two operators that MSD takes differ (`value` and `quant_type` are left out, which do). */
const KINDS: Readonly<Record<string, string>> = {
  float: 'activation_alpha activation_beta epsilon qk_norm_epsilon scale softcap swiglu_limit',
  int:
    'K N accuracy_level axis bits block_size do_rotary expert_weight_bits end k keepdims ' +
    'kv_cache_bit_width kv_num_heads local_window_size noop_with_empty_axes normalize_routing_weights ' +
    'num_heads qk_output rotary_interleaved saturate smooth_softmax start stash_type swiglu_fusion to ' +
    'use_sparse_mixer weight_prepacked weights_prepacked',
  ints: 'axes',
  string: 'activation_type k_quant_type v_quant_type',
};

const kindOf: Map<string, string> = /* @__PURE__ */ new Map(/* @__PURE__ */ kindsOf(KINDS));

function kindsOf(table: Readonly<Record<string, string>>): (readonly [string, string])[] {
  return Object.entries(table).flatMap(([kind, names]) => names.split(' ').map((name) => [name, kind] as const));
}

/** What a family knows of schemas, written like the tables here. */
export interface Schemas {
  readonly counts: Readonly<Record<string, string>>;
  readonly kinds: Readonly<Record<string, string>>;
}

export function addSchemas({ counts, kinds }: Schemas): void {
  for (const [name, each] of countsOf(counts)) schemas.set(name, each);
  for (const [name, kind] of kindsOf(kinds)) kindOf.set(name, kind);
}

/**
 * Why a node's attributes are not its operator's; `undefined` if they may be. What is not in the table is not looked at.
 *
 * @param names of the operator: others may have attributes of these names that are something else (the `scale` of a Scaler is a list)
 *
 * @throws {@link OnnxFormatError} for one that holds something else.
 */
export function wrongKind(node: NodeRecord, names: readonly string[] = []): string | undefined {
  for (const [name, { kind }] of node.attributes) {
    const expected = names.includes(name) ? kindOf.get(name) : kind;
    if (expected === undefined || expected === kind) continue;
    if (kind === 'other') return `attribute '${name}', expected ${expected}, got something else`;
    throw new OnnxFormatError(`read: ${describeNode(node)}: attribute '${name}', expected ${expected}, got ${kind}.`);
  }
  return undefined;
}
