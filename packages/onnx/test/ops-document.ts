/** docs/ops.md, from the table of operators. */
import { decoderMaskedOperators } from '../src/ops/attention/decoder-masked.ts';
import { groupQueryAttention } from '../src/ops/attention/group-query.ts';
import { multiHeadOperators } from '../src/ops/attention/multi-head.ts';
import { packedOperators } from '../src/ops/attention/packed.ts';
import { quantizedAttentionOperators } from '../src/ops/attention/quantized.ts';
import { standardOperators } from '../src/ops/attention/standard.ts';
import { convOperators } from '../src/ops/conv/index.ts';
import { dynamicOperators } from '../src/ops/dynamic.ts';
import { elementwiseOperators } from '../src/ops/elementwise.ts';
import { moreElementwiseOperators } from '../src/ops/elementwise-more.ts';
import { expertOperators } from '../src/ops/experts.ts';
import { foreignOperators } from '../src/ops/foreign.ts';
import { gatherOperators } from '../src/ops/gather.ts';
import { gatherCodesOperators } from '../src/ops/gather-device.ts';
import { gatherNDOperators } from '../src/ops/gather-nd.ts';
import { PATTERNS } from '../src/ops/index.ts';
import { matMulOperators } from '../src/ops/mat-mul.ts';
import { matMulBnb4Operators } from '../src/ops/mat-mul-bnb4.ts';
import { matMulIntegerOperators } from '../src/ops/mat-mul-integer.ts';
import { matMulNBitsOperators } from '../src/ops/mat-mul-nbits.ts';
import { movementOperators } from '../src/ops/movement.ts';
import { normOperators } from '../src/ops/norm.ts';
import type { Operator } from '../src/ops/operator.ts';
import { qLinearOperators } from '../src/ops/q-linear.ts';
import { qLinearFoldOperators } from '../src/ops/q-linear-fold.ts';
import { qLinearProductOperators } from '../src/ops/q-linear-product.ts';
import { quantizeOperators } from '../src/ops/quantize.ts';
import { recurrentOperators } from '../src/ops/recurrent.ts';
import { reduceOperators } from '../src/ops/reduce.ts';
import { foldOperators } from '../src/ops/reduce-device.ts';
import { reshapeOperators } from '../src/ops/reshape.ts';
import { rotaryOperators } from '../src/ops/rotary.ts';
import { shapeOperators } from '../src/ops/shape.ts';
import { LIMITS } from './ops-limits.ts';

/** Sections of the document. */
const SECTIONS: Readonly<Record<string, readonly Operator[]>> = {
  'quantized products': [
    ...matMulNBitsOperators,
    ...matMulIntegerOperators,
    ...matMulBnb4Operators,
    ...qLinearProductOperators,
    ...expertOperators,
    ...recurrentOperators,
  ],
  products: matMulOperators,
  convolutions: convOperators,
  attention: [
    groupQueryAttention,
    ...multiHeadOperators,
    ...decoderMaskedOperators,
    ...packedOperators,
    ...quantizedAttentionOperators,
    ...standardOperators,
  ],
  norms: normOperators,
  elementwise: [...elementwiseOperators, ...moreElementwiseOperators],
  codes: [...quantizeOperators, ...qLinearOperators, ...qLinearFoldOperators],
  reductions: [...reduceOperators, ...foldOperators],
  rotary: rotaryOperators,
  gather: [...gatherOperators, ...gatherCodesOperators, ...gatherNDOperators],
  movement: movementOperators,
  shapes: [...shapeOperators, ...reshapeOperators],
  others: [...foreignOperators, ...dynamicOperators],
};

/** Names of the operators of all sections. */
export const documented = (): string[] => Object.values(SECTIONS).flatMap((all) => all.map(({ name }) => name));

const cell = (operator: Operator): string => {
  const isPart = !operator.match && PATTERNS.has(operator.name);
  const places = [
    operator.match && 'device',
    operator.host && 'JavaScript',
    operator.hasBodies && 'bodies',
    isPart && 'in a chain',
  ].filter(Boolean);
  return places.length > 0 ? places.join(', ') : '–';
};

const row = (operator: Operator): string =>
  `| \`${operator.name}\` | ${cell(operator)} | ${LIMITS.get(operator.name) ?? ''} |`;

/** Chains of nodes that one step replaces, by the operator from which they are found. */
export const CHAINS: Readonly<Record<string, string>> = {
  Sigmoid: 'x · sigmoid(x); x · sigmoid(1.702 · x)',
  Erf: 'x · ½ · (1 + erf(x / √2))',
  Tanh: 'x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))',
  Sqrt: '(x − mean) / √(variance + ε) · scale + bias; x / √(mean of x² + ε) · scale',
  Log: 'arithmetic of int64 and int32 on large tensors around a logarithm: distances between positions → buckets',
  Softmax: 'attention: q · kᵀ → scale, mask → Softmax → · v',
  ConvInteger: 'DynamicQuantizeLinear(x) → ConvInteger → Cast → · scale of x · scale of the weights, in any order',
  MatMulInteger: 'DynamicQuantizeLinear(x) → MatMulInteger → Cast → · scale of x · scale of the weights, in any order',
};

export function opsDocument(): string {
  const sections = Object.entries(SECTIONS).map(([section, operators]) =>
    [
      `## ${section[0]!.toUpperCase()}${section.slice(1)}`,
      '',
      '| operator | runs in MSD | limits |',
      '|---|---|---|',
      ...operators.map(row),
      '',
    ].join('\n'),
  );
  const chains = Object.entries(CHAINS).map(([name, spelt]) => `| \`${name}\` | ${spelt} |`);
  return `<!-- Written by \`vitest run packages/onnx/test/ops.test.ts -u\` from packages/onnx/src/ops. Do not edit. -->

# Operators that @msd/onnx knows

**device**: runs in MSD's kernels, in f32 (bool where that makes sense). **JavaScript**: computed in plain JavaScript: shapes, int64, int32
and bool, and floats that follow from them, up to 4,096 elements. **bodies**: its subgraphs are planned like graphs of their own. **in a chain**: only as a part of
a chain, see the last table. **–**: runs in ONNX Runtime, but MSD knows the types of its results, so that it can take the nodes behind it. Operators that are
not listed run in ONNX Runtime. So does a node with an attribute that MSD does not know; the report of a session says so.

${sections.join('\n')}
## Chains that one step replaces

| found from | the chain |
|---|---|
${chains.join('\n')}
`;
}
