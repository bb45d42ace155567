/** docs/ops.md, from the table of operators. */
import { FAMILIES, PATTERNS } from '../src/ops/index.ts';
import type { Operator } from '../src/ops/operator.ts';

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

const row = (operator: Operator): string => `| \`${operator.name}\` | ${cell(operator)} | ${operator.limits ?? ''} |`;

/** Chains of nodes that one step replaces, by the operator that they are found from. */
const CHAINS: Readonly<Record<string, string>> = {
  Sigmoid: 'x · sigmoid(x); x · sigmoid(1.702 · x)',
  Erf: 'x · ½ · (1 + erf(x / √2))',
  Tanh: 'x · ½ · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))',
  Sqrt: '(x − mean) / √(variance + ε) · scale + bias; x / √(mean of x² + ε) · scale',
  MatMulInteger: 'DynamicQuantizeLinear(x) → MatMulInteger → Cast → · scale of x · scale of the weights, in any order',
};

export function opsDocument(): string {
  const families = Object.entries(FAMILIES).map(([family, operators]) =>
    [
      `## ${family[0]!.toUpperCase()}${family.slice(1)}`,
      '',
      '| operator | runs in MSD | limits |',
      '|---|---|---|',
      ...operators.map(row),
      '',
    ].join('\n'),
  );
  const chains = [...PATTERNS.keys()].map((name) => `| \`${name}\` | ${CHAINS[name] ?? ''} |`);
  return `<!-- Written by \`vitest run packages/onnx/test/ops.test.ts -u\` from packages/onnx/src/ops. Do not edit. -->

# Operators that @msd/onnx knows

**device**: f32 (bool where that makes sense) on MSD's device, as steps of a program. **JavaScript**: shape arithmetic, int64, int32,
bool and the floats that follow from them, up to 4,096 elements. **bodies**: its subgraphs are planned like graphs. **in a chain**: see the last table. **–**: ONNX Runtime's; types of its results are known, so that
what follows can be taken. Whatever is not listed is ONNX Runtime's. A node with an attribute that is not known here stays ONNX
Runtime's, too, and the report of a session says so.

${families.join('\n')}
## Chains that one step replaces

| found from | spelt |
|---|---|
${chains.join('\n')}
`;
}
