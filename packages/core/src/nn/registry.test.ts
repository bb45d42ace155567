import { describe, expect, it } from 'vitest';
import { checkFamily } from '../../test/kernels.ts';
import { opCases } from '../../test/op-cases.ts';
import { nnKernels, nnOps } from './registry.ts';

describe('nn', () => {
  it('has kernels with a name and a trial call each', () => {
    for (const family of nnKernels) checkFamily(family);
    const ids = nnKernels.flatMap(({ kernels }) => Array.from(kernels(), ({ id }) => id));
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('has ops that every device is tried with', () => {
    expect(new Set(opCases().map(({ spec }) => spec.name))).toEqual(new Set(nnOps.map(({ name }) => name)));
  });
});
