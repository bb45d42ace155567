/**
 * DecoderMaskedMultiHeadAttention of com.microsoft: one token after a past that lies in a buffer of the size that it may reach, with
 * its length beside. `present` is that buffer with one more key in it.
 */
import { INT32 } from '../../data-types.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';
import type { NodeView, Operator } from '../operator.ts';
import { addBiases, biasArray, lateOf } from './biases.ts';
import { notFloats } from './common.ts';
import { emitAttention } from './facts.ts';
import { operandsOf } from './multi-head.ts';
import { attentionMatch, namesOf } from './one-node.ts';
import { paddingBias } from './padding.ts';

const infer: Operator['infer'] = (view, [query, , value, , , pastKey, pastValue]) => {
  const dims = query?.dims?.length === 3 && value?.dims?.length === 3 ? query.dims.with(2, value.dims[2]!) : undefined;
  return view.node.outputs.map((_, i) =>
    i === 0 ? query && { elemType: query.elemType, dims } : i === 1 ? pastKey : i === 2 ? pastValue : undefined,
  );
};

function match(view: NodeView, matcher: Matcher): Match | string {
  const { node } = view;
  const [query = '', key = '', value = '', padding = '', added = '', pastKey = '', pastValue = ''] = node.inputs;
  const [pastLength = '', beams = '', indirection = '', bias = ''] = node.inputs.slice(7);
  const [y = '', presentKey = '', presentValue = '', scores = ''] = node.outputs;
  const refused = notFloats(matcher, { query, key, value, bias, attention_bias: added, pastKey, pastValue });
  if (refused !== undefined) return refused;
  const heads = view.int('num_heads', 0);
  if (heads <= 0) return 'num_heads is not given';
  if (scores !== '' || view.int('output_qk', 0) !== 0) return 'the scores are an output';
  if (view.int('past_present_share_buffer', 0) !== 1) return 'past and present share no buffer';
  if (beams !== '' || indirection !== '') return 'beams share their past';
  if (key === '' || value === '' || pastKey === '' || pastValue === '') return 'it is packed, or cross-attention';
  if ([key, value].some((name) => matcher.info(name)?.dims?.length !== 3)) return 'it is cross-attention';
  if (!matcher.isHostOperand(pastLength)) return 'the length of the past is not at hand';
  if (padding !== '' && matcher.info(padding)?.elemType !== INT32) return 'the mask is not int32';
  const cache = { past: { key: pastKey, value: pastValue }, present: { key: presentKey, value: presentValue } };
  const filter = view.float('mask_filter_value', -10_000);
  const late = [pastLength, padding, added].filter((name) => name !== '');
  return attentionMatch(view, matcher, {
    inputs: [query, key, value, bias, pastKey, pastValue, ...late],
    outputs: [y, presentKey, presentValue],
    late,
    caches: namesOf(cache),
    lower(to) {
      const operands = operandsOf(to, heads, { query, key, value, bias });
      const { batch, rows, keys } = operands;
      emitAttention(
        to,
        {
          ...operands,
          heads,
          kvHeads: heads,
          scale: view.float('scale', 0) || undefined,
          isCausal: true,
          cache,
          late: lateOf(late, (values, pastRows) => {
            const [{ data }, ...others] = values as [(typeof values)[number], ...typeof values];
            const length = data[0]!;
            if (!(length >= 0 && length + keys <= pastRows))
              view.fail('past_sequence_length', `0 to ${pastRows - keys}, as past has room`, `${length}`);
            const mask = padding === '' ? undefined : others[0]!;
            const extra = padding === '' ? others[0] : others[1];
            const sizes = { batch, rows, keys: length + keys };
            return {
              past: new Array<number>(batch).fill(length),
              bias: addBiases(mask && paddingBias(mask, sizes, filter), extra && biasArray(extra)),
              rows: pastRows,
            };
          }),
        },
        y,
        'rows',
      );
    },
  });
}

export const decoderMaskedOperators: readonly Operator[] = [
  {
    name: 'com.microsoft.DecoderMaskedMultiHeadAttention',
    attributes: ['num_heads', 'mask_filter_value', 'scale', 'past_present_share_buffer', 'output_qk'],
    infer,
    isFirst: true,
    match,
  },
];
