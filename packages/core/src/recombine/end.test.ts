import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { activationIds } from '../activations/contract.ts';
import { Module } from '../wasm/emitter.ts';
import { endId, endKernel } from './end.wasm.ts';

describe('end kernels', () => {
  it('are the bytes that were reviewed, below the 4 KB that a page may compile synchronously', () => {
    const hashes = [undefined, ...activationIds].map((activation) => {
      const module = new Module();
      endKernel(module, activation);
      const bytes = module.toBytes();
      expect(bytes.length).toBeLessThan(4096);
      return `${endId(activation)} ${bytes.length} ${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`;
    });
    expect(hashes).toMatchSnapshot();
  });
});
