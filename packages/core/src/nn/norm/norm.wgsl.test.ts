/** Norms on a GPU: text as it was reviewed, and results where there is one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testGpu } from '../../../test/gpu.ts';
import { minimalDevice } from '../../../test/gpu-device.ts';
import { gpuOp } from '../../../test/gpu-ops.ts';
import { referenceOp, tensor } from '../../../test/ops.ts';
import { random } from '../../../test/random.ts';
import { type ValueKind, values } from '../../../test/values.ts';
import type { GpuDevice } from '../../backends/webgpu/api.ts';
import type { WebGpuBackend } from '../../backends/webgpu/index.ts';
import { createBackend } from '../../index.ts';
import { elementCount, type Tensor } from '../../ops/op.ts';
import { normBound } from './bound.ts';
import { INPUTS, type NormOp } from './contract.ts';
import { norm } from './norm.ts';

const gpu = await testGpu();

interface Form {
  readonly op: NormOp;
  readonly there: readonly (typeof INPUTS)[number][];
}

const FORMS: readonly Form[] = [
  { op: { kind: 'rms', epsilon: 1e-6 }, there: ['x', 'scale'] },
  { op: { kind: 'rms', epsilon: 1e-6, invStdDev: true, sum: true }, there: ['x', 'scale', 'skip', 'skipBias'] },
  { op: { kind: 'layer', epsilon: 1e-5 }, there: ['x', 'scale', 'bias'] },
  { op: { kind: 'layer', epsilon: 1e-5, mean: true, invStdDev: true }, there: ['x', 'scale', 'bias', 'skip'] },
];

function inputsOf({ there }: Form, kind: ValueKind, batch: number, rows: number, n: number): (Tensor | undefined)[] {
  const next = random(n);
  const dims = { x: [batch, rows, n], scale: [n], bias: [n], skip: [rows, n], skipBias: [n] };
  return INPUTS.map((name) => {
    if (!there.includes(name)) return undefined;
    const isData = name === 'x' || name === 'skip';
    return tensor('f32', dims[name], values(next, isData ? kind : 'gaussian', elementCount(dims[name])));
  });
}

describe('norm in WGSL', () => {
  it.each(FORMS)('can be read: $op.kind of $there', async (form) => {
    const types = inputsOf(form, 'zeros', 1, 1, 1);
    const [{ id, code }] = norm.wgsl!(form.op, types, norm.infer(form.op, types));
    await expect(code()).toMatchFileSnapshot(`./__snapshots__/${id}.wgsl`);
  });
});

describe.skipIf(!gpu)('norm on a GPU', () => {
  let device: GpuDevice;
  let complaints: string[];
  let backend: WebGpuBackend;
  beforeAll(async () => {
    ({ device, complaints } = await minimalDevice(gpu!));
    backend = await createBackend('webgpu', { gpu, device });
  });
  afterAll(() => {
    backend.dispose();
    expect(complaints).toEqual([]);
    device.destroy();
  });

  it.each(FORMS)('is within its bound: $op.kind of $there', async (form) => {
    const { op } = form;
    for (const kind of ['gaussian', 'offset', 'magnitudes', 'zeros'] as const)
      for (const [batch, rows, n] of [
        [2, 3, 65],
        [1, 1, 896],
        [1, 2, 1],
        [3, 1, 64],
      ]) {
        const inputs = inputsOf(form, kind, batch, rows, n);
        const want = referenceOp(norm, op, inputs, 'float64');
        const [x, scale, bias, skip, skipBias] = inputs.map((input) => input?.data);
        for (const inPlace of [undefined, { output: 0, input: 0 }]) {
          const got = await gpuOp(backend, norm, op, inputs, inPlace);
          for (let r = 0; r < batch * rows; r++) {
            const skipAt = (r % rows) * n;
            const row = {
              x: x!.subarray(r * n, (r + 1) * n),
              scale,
              bias,
              skip: skip?.subarray(skipAt, skipAt + n),
              skipBias,
            };
            normBound(op, row, 'webgpu').forEach((most, k) => {
              const at = r * n + k;
              const error = Math.abs(got[0].data[at] - want[0].data[at]);
              if (!(error <= most))
                throw new Error(`${kind} [${batch},${rows},${n}], row ${r}, ${k}: off by ${error}, bound ${most}`);
            });
          }
          got.slice(1).forEach((extra, i) => {
            extra.data.forEach((value, at) => {
              expect(value / want[i + 1].data[at] || 1).toBeCloseTo(1, 4);
            });
          });
        }
      }
  });

  it('keeps NaN and infinities in their rows', async () => {
    const [inf, nan] = [Number.POSITIVE_INFINITY, Number.NaN];
    const x = tensor('f32', [3, 2], [1, nan, inf, 1, 3, -3]);
    const scale = tensor('f32', [2], [1, 1]);
    const [rms] = await gpuOp(backend, norm, FORMS[0].op, [x, scale]);
    expect(Array.from(rms.data)).toEqual([nan, nan, nan, 0, expect.closeTo(1), expect.closeTo(-1)]);
    const [layer] = await gpuOp(backend, norm, FORMS[2].op, [x, scale, scale]);
    expect(Array.from(layer.data)).toEqual([nan, nan, nan, nan, expect.closeTo(2), expect.closeTo(0)]);
  });
});
