/**
 * The end of a WGSL gemm, in its registers: y = activation(sum + bias) · multiply + residual, then the store.
 *
 * A dispatch may not read a buffer through one binding that it writes through another, so `multiply` and `residual` are
 * either buffers of their own or y itself.
 */
import { activationFunction } from '../activations/activations.wgsl.ts';
import type { ActivationId } from '../activations/contract.ts';
import { NAN_BITS } from '../webgpu/wgsl.ts';

export type EndOperand = 'buffer' | 'out' | undefined;

export interface WgslEnd {
  readonly bias: boolean;
  readonly activation?: ActivationId | undefined;
  readonly multiply?: EndOperand;
  readonly residual?: EndOperand;
}

/** Parameters of the end, after the gemm's. `At`: word of the operand's [0, first column]; rows are yStride apart in all of them. */
export const END_PARAMS = ['yAt', 'yStride', 'biasAt', 'multiplyAt', 'residualAt'] as const;

export const endSuffix = ({ bias, activation, multiply, residual }: WgslEnd): string =>
  [
    bias ? '_bias' : '',
    activation ? `_${activation}` : '',
    multiply ? `_mul${multiply === 'out' ? 'y' : ''}` : '',
    residual ? `_res${residual === 'out' ? 'y' : ''}` : '',
  ].join('');

/** Bindings that follow y's, in order. */
export const endBuffers = ({ bias, multiply, residual }: WgslEnd): ('bias' | 'multiply' | 'residual')[] => [
  ...(bias ? (['bias'] as const) : []),
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
  const operand = (name: 'multiply' | 'residual', from: EndOperand) =>
    from === 'out' ? 'bitcast<f32>(y[at])' : `${name}[p.${name}At + m * p.yStride + n + i]`;
  return `${declarations.join('\n')}
${activation ? activationFunction(activation) : ''}

fn finish(m: u32, n: u32, sum: vec4f, nan: bool) {
  if (m >= p.M) { return; }
  for (var i = 0u; i < 4u; i++) {
    if (n + i < p.N) {
      let at = p.yAt + m * p.yStride + n + i;
      var value = sum[i]${bias ? ' + bias[p.biasAt + n + i]' : ''};
${activation ? '      value = activate(value);\n' : ''}${multiply ? `      value *= ${operand('multiply', multiply)};\n` : ''}${residual ? `      value += ${operand('residual', residual)};\n` : ''}      y[at] = select(bitcast<u32>(value), ${NAN_BITS}, nan);
    }
  }
}
`;
}
