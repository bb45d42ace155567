/** WGSL text as it was reviewed: a shader can be read, and a change to it seen, without a GPU. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { activationIds } from '../activations/contract.ts';
import { resolveDecomposition } from '../decompose/contract.ts';
import { wgslDecompose } from '../decompose/decompose.wgsl.ts';
import { formats } from '../formats/index.ts';
import type { GpuFeatures, WgslKernel } from '../wgsl/wgsl.ts';
import { everyVariant } from './registry.ts';
import { chooseWgslGemm } from './registry.wgsl.ts';

const all: GpuFeatures = { packedDot: true, subgroups: true };
const none: GpuFeatures = { packedDot: false, subgroups: false };
const decomposition = resolveDecomposition({}, 'test');
const fine = resolveDecomposition({ activationBlock: 32, components: 1 }, 'test');
const int4 = {
  format: formats.int4,
  variant: { blockSize: 32, storedZeroPoints: false, scale: 'f32' },
  decomposition,
} as const;

function* kernels(): Generator<WgslKernel> {
  for (const { format, variant } of everyVariant())
    for (const M of [1, 64])
      yield chooseWgslGemm(M, { format, variant, decomposition, end: { bias: false }, features: all }).kernel();
  for (const M of [1, 2, 3, 4, 16, 64])
    for (const options of [
      { decomposition, end: { bias: true }, features: none },
      { decomposition: fine, end: { bias: false }, features: all },
    ])
      yield chooseWgslGemm(M, { ...int4, ...options }).kernel();
  for (const activation of activationIds)
    yield chooseWgslGemm(1, {
      ...int4,
      end: { bias: true, activation, multiply: 'buffer', residual: 'out' },
      features: all,
    }).kernel();
  for (const rows of [1, 4] as const)
    for (const subgroups of [false, true])
      for (const options of [
        {},
        { activationBlock: 32 },
        { activationBlock: 'row' },
        { decomposition: 'mxfp4' },
      ] as const)
        yield wgslDecompose({ decomposition: resolveDecomposition(options, 'test'), rows, subgroups });
}

describe('WGSL', () => {
  it('is the text that was reviewed', () => {
    const hashes = new Map<string, string>();
    for (const { id, code } of kernels())
      hashes.set(id, `${id} ${code.length} ${createHash('sha256').update(code).digest('hex').slice(0, 16)}`);
    expect([...hashes.values()]).toMatchSnapshot();
  });

  it.each([
    wgslDecompose({ decomposition, rows: 1, subgroups: false }),
    chooseWgslGemm(1, { ...int4, end: { bias: true }, features: all }).kernel(),
    chooseWgslGemm(64, { ...int4, end: { bias: true }, features: all }).kernel(),
  ])('can be read: $id', async ({ id, code }) => {
    await expect(code).toMatchFileSnapshot(`./__snapshots__/${id}.wgsl`);
  });
});
