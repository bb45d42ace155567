import { describe, expect, it } from 'vitest';
import { checkFamily } from '../test/kernels.ts';
import { decomposeSpec, decomposeVariants } from './decompose/decompose.wasm.ts';
import { widenSpec, widenVariants } from './decompose/widen.wasm.ts';
import { gemmSpec, gemmVariants } from './gemm/registry.ts';
import { familyOf, type KernelSpec, kernelCall } from './kernel-spec.ts';
import { endSpec, endVariants } from './recombine/end.wasm.ts';
import { narrowSpec, narrowVariants } from './recombine/narrow.wasm.ts';
import { relaxedDot } from './wasm/features.ts';

describe('kernel families', () => {
  it('decompose, end, widen and narrow are what their specs say', () => {
    checkFamily(familyOf(decomposeSpec, decomposeVariants));
    checkFamily(familyOf(endSpec, endVariants));
    checkFamily(familyOf(widenSpec, widenVariants));
    checkFamily(familyOf(narrowSpec, narrowVariants));
  });

  it('gemm is what its spec says', () => {
    const runs = [...gemmVariants()].filter(({ carrier }) => carrier?.id !== 'i8' || relaxedDot() !== null);
    checkFamily(familyOf(gemmSpec, () => runs));
  });

  it('calls have their arguments in the kernel’s order', () => {
    const spec: KernelSpec<number, 'x' | 'y' | 'M'> = {
      family: 'copy',
      args: ['y', 'M', 'x'],
      id: (tile) => `copy_${tile}`,
      emit: () => {},
      trial: (_, at, rows = 1) => ({ x: at, y: at + 1024, M: rows }),
    };
    const call = kernelCall(spec, 4, { x: { operand: 0, perRow: 8 }, y: { operand: 1 }, M: 3 });
    expect(call.id).toBe('copy_4');
    expect(call.args).toEqual([{ operand: 1 }, { value: 3 }, { operand: 0, perRow: 8 }]);
    expect(call.trial(64)).toEqual([1088, 1, 64]);
    expect(call.trial(64, 5)).toEqual([1088, 5, 64]);
  });
});
