/** Keys and values that a model keeps as int8, with scales of its own: what GroupQueryAttention calls a quantized cache. */

import { FLOAT32, INT8 } from '../../data-types.ts';
import type { Matcher } from '../../passes/matcher.ts';
import { tensorFloats } from '../../read/tensor.ts';
import type { KvScales } from '../lowering.ts';
import type { NodeView } from '../operator.ts';

/** Names of operands; '' = there is none. */
type CodedRoles = Readonly<Record<'kScale' | 'vScale' | 'pastKey' | 'pastValue', string>>;

export const isCoded = ({ kScale }: CodedRoles): boolean => kScale !== '';

/** Why keys and values cannot be int8 with scales of the model, if they are to be. */
export function notCodes(
  view: NodeView,
  matcher: Matcher,
  { kScale, vScale, pastKey, pastValue }: CodedRoles,
): string | undefined {
  const kinds = [view.string('k_quant_type', 'NONE'), view.string('v_quant_type', 'NONE')];
  if (kinds.every((kind) => kind === 'NONE') && kScale === '' && vScale === '') return undefined;
  if (kinds.some((kind) => kind !== 'PER_TENSOR' && kind !== 'PER_CHANNEL')) return `keys and values are ${kinds}`;
  const bits = view.int('kv_cache_bit_width', 8);
  if (bits !== 8) return `keys and values of ${bits} bits`;
  for (const name of [kScale, vScale])
    if (matcher.tensor(name)?.elemType !== FLOAT32) return 'scales of keys and values are not constant f32';
  for (const name of [pastKey, pastValue]) if (matcher.info(name)?.elemType !== INT8) return 'past is not int8';
  return undefined;
}

/** Read once: later the file may be closed. */
export function scalesOf(matcher: Matcher, { kScale, vScale }: CodedRoles): KvScales | undefined {
  if (kScale === '') return undefined;
  const read = (name: string): Float32Array => tensorFloats(matcher.tensor(name)!).slice();
  return { keys: read(kScale), values: read(vScale) };
}
