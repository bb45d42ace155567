import { describe, expect, it } from 'vitest';
import { checkFamily } from '../../test/kernels.ts';
import { opCases } from '../../test/op-cases.ts';
import { createBackend } from '../backends/create.ts';
import { UnsupportedError } from '../errors.ts';
import type { OpSpec } from '../ops/op.ts';
import * as nn from './index.ts';
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

  it('has each op for WASM alone, too, which the reference refuses', async () => {
    const alone = Object.entries(nn).flatMap(([name, spec]) =>
      name.endsWith('OnWasm') ? [spec as OpSpec<unknown>] : [],
    );
    expect(alone.map(({ name }) => name).sort()).toEqual(nnOps.map(({ name }) => name).sort());
    for (const spec of alone) {
      expect(spec.reference).toBeUndefined();
      expect(spec.wgsl).toBeUndefined();
      const { reference: _, wgsl: __, ...shared } = nnOps.find(({ name }) => name === spec.name)!;
      expect(spec).toEqual(shared);
    }
    const backend = await createBackend('reference');
    const [x, y] = [backend.alloc(16), backend.alloc(16)];
    const inputs = [{ dtype: 'f32', dims: [1, 4] }] as const;
    const work = { kind: 'op', spec: nn.softmaxOnWasm as OpSpec<unknown>, op: { kind: 'softmax' }, inputs } as const;
    expect(() => backend.bind(work, [x, y])).toThrow(UnsupportedError);
    expect(() => backend.bind(work, [x, y])).toThrow(/softmax has no reference/);
  });
});
