import { expect, it } from 'vitest';
import { kernelHashes } from '../../test/ops.ts';
import { endSpec, endVariants } from './end.wasm.ts';

it('end kernels are the bytes that were reviewed', () => {
  expect(kernelHashes(endSpec, endVariants)).toMatchSnapshot();
});
