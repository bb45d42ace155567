/**
 * The end of a WGSL gemm, in its registers: y = activation(sum + bias) · multiply + residual, then the store.
 *
 * A dispatch may not read a buffer through one binding that it writes through another: an operand that lies in y's buffer is
 * read through y's binding.
 */
import { activationFunction } from '../activations/activations.wgsl.ts';
import type { ActivationId } from '../activations/contract.ts';
import { NAN_BITS } from '../wgsl/wgsl.ts';

/** Where an operand is: in a buffer of its own, in y itself, or beside y in its buffer. */
export type EndOperand = 'buffer' | 'out' | 'beside' | undefined;

export interface WgslEnd {
  /** In a buffer of its own, or beside y in its buffer. */
  readonly bias: boolean | 'beside';
  readonly activation?: ActivationId | undefined;
  readonly multiply?: EndOperand;
  readonly residual?: EndOperand;
}

/** Parameters of the end, after the gemm's. `At`: word of the operand's [0, first column]; rows are yStride apart in all of them. */
export const END_PARAMS = ['yAt', 'yStride', 'biasAt', 'multiplyAt', 'residualAt'] as const;

export const endSuffix = ({ bias, activation, multiply, residual }: WgslEnd): string =>
  [
    bias ? `_bias${bias === 'beside' ? PLACES.beside : ''}` : '',
    activation ? `_${activation}` : '',
    multiply ? `_mul${PLACES[multiply]}` : '',
    residual ? `_res${PLACES[residual]}` : '',
  ].join('');
const PLACES = { buffer: '', out: 'y', beside: 'by' } as const;

/** Bindings that follow y's, in order. */
export const endBuffers = ({ bias, multiply, residual }: WgslEnd): ('bias' | 'multiply' | 'residual')[] => [
  ...(bias === true ? (['bias'] as const) : []),
  ...(multiply === 'buffer' ? (['multiply'] as const) : []),
  ...(residual === 'buffer' ? (['residual'] as const) : []),
];

/**
 * Declarations, and `fn finish(m, n, sum, nan)`: ends and stores four columns from n on (a multiple of 4), as far as there are any.
 * @param binding the first binding after y's
 */
export function endCode(end: WgslEnd, binding: number): string {
  const { bias, activation, multiply, residual } = end;
  const declarations = endBuffers(end).map(
    (name, i) =>
      `@group(0) @binding(${binding + i}) var<storage, read> ${name}: array<f32>;  // [${name === 'bias' ? 'N' : 'M, yStride'}]`,
  );
  const operand = (name: 'bias' | 'multiply' | 'residual', from: EndOperand) => {
    if (from === 'out') return 'bitcast<f32>(y[at])';
    const index = `p.${name}At + ${name === 'bias' ? '' : 'm * p.yStride + '}n + i`;
    return from === 'beside' ? `bitcast<f32>(y[${index}])` : `${name}[${index}]`;
  };
  return `${declarations.join('\n')}
${activation ? activationFunction(activation) : ''}

fn finish(m: u32, n: u32, sum: vec4f, nan: bool) {
  if (m >= p.M) { return; }
  for (var i = 0u; i < 4u; i++) {
    if (n + i < p.N) {
      let at = p.yAt + m * p.yStride + n + i;
      var value = sum[i]${bias ? ` + ${operand('bias', bias === true ? 'buffer' : bias)}` : ''};
${activation ? '      value = activate(value);\n' : ''}${multiply ? `      value *= ${operand('multiply', multiply)};\n` : ''}${residual ? `      value += ${operand('residual', residual)};\n` : ''}      y[at] = select(bitcast<u32>(value), ${NAN_BITS}, nan);
    }
  }
}
`;
}
