import { describe, expect, it } from 'vitest';
import { bytesOf, reviewed } from '../../test/kernels.ts';
import { endSpec } from './end.wasm.ts';

describe('end kernels', () => {
  it('are the bytes that were reviewed, below the 4 KB that a page may compile synchronously', () => {
    for (const activation of endSpec.variants()) expect(bytesOf(endSpec, activation).length).toBeLessThan(4096);
    expect(reviewed(endSpec)).toMatchSnapshot();
  });
});
