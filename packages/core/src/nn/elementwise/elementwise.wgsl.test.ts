/** Elementwise expressions on a GPU: text as it was reviewed, and results where there is one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testGpu } from '../../../test/gpu.ts';
import { minimalDevice } from '../../../test/gpu-device.ts';
import { gpuOp } from '../../../test/gpu-ops.ts';
import { referenceOp, tensor } from '../../../test/ops.ts';
import { gaussian, type Random, random } from '../../../test/random.ts';
import { ulp } from '../../../test/ulp.ts';
import type { GpuDevice } from '../../backends/webgpu/api.ts';
import type { WebGpuBackend } from '../../backends/webgpu/index.ts';
import { createBackend } from '../../index.ts';
import { type DType, elementCount, type Tensor } from '../../ops/op.ts';
import { elementwise } from './elementwise.ts';
import type { Elementwise } from './expression.ts';
import { ulpsOf } from './functions.reference.ts';
import { type FunctionId, functionIds, functionOf } from './functions.ts';

const gpu = await testGpu();

const swiglu: Elementwise = {
  nodes: [
    { fn: 'Silu', args: [0] },
    { fn: 'Mul', args: [2, 1] },
  ],
  outputs: [3],
};
const masked: Elementwise = {
  nodes: [
    { fn: 'Less', args: [0, 1] },
    { fn: 'Where', args: [2, 0, 1] },
  ],
  outputs: [2, 3],
};
const sine: Elementwise = { nodes: [{ fn: 'Sin', args: [0] }], outputs: [1] };
const type = (dims: readonly number[]) => ({ dtype: 'f32', dims }) as const;

describe('elementwise in WGSL', () => {
  it.each([
    [swiglu, [[4864], [4864]]],
    [
      masked,
      [
        [2, 3, 5],
        [3, 1],
      ],
    ],
    [sine, [[7]]],
  ])('can be read: %j of %j', async (op, shapes) => {
    const types = shapes.map(type);
    const [{ id, code }] = elementwise.wgsl!(op, types, elementwise.infer(op, types));
    await expect(code()).toMatchFileSnapshot(`./__snapshots__/${id}.wgsl`);
  });
});

/** Numbers that a GPU doesn't flush, large and small. */
const draw: Record<DType, (next: Random) => number> = {
  f32: (next) => {
    const kind = next();
    if (kind < 0.5) return 3 * gaussian(next);
    return kind < 0.9 ? (next() - 0.5) * 2 ** Math.floor(next() * 24 - 12) : Math.floor(next() * 20 - 10);
  },
  i32: (next) => (next() < 0.5 ? Math.floor(next() * 20 - 10) : Math.floor((next() - 0.5) * 2 ** 32)),
  bool: (next) => Math.floor(next() * 2),
};
const drawn = (next: Random, dtype: DType, dims: readonly number[]): Tensor =>
  tensor(
    dtype,
    dims,
    Array.from({ length: elementCount(dims) }, () => draw[dtype](next)),
  );

const VALUES: Partial<Record<FunctionId, readonly number[]>> = { HardSigmoid: [0.2, 0.5], PowConstant: [1.7] };

/** The most that a GPU may be off by where the f32 contract is off by so many ulps of the result. */
const allowed = (ulps: number, exact: number): number => (4 * ulps + 3) * ulp(exact) + 2 ** -126;

describe.skipIf(!gpu)('elementwise on a GPU', () => {
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

  it.each(functionIds.flatMap((fn) => functionOf(fn).forms.map((form) => ({ fn, form, args: form.args.join() }))))(
    'is near the mathematics: $fn($args)',
    async ({ fn, form }) => {
      // What has no stated error is a few operations that may cancel.
      const { values = [] } = functionOf(fn);
      const ulps = ulpsOf(fn);
      const most = (args: readonly number[], exact: number) =>
        ulps ? allowed(ulps(args, beside), exact) : 2 ** -21 * (1 + Math.abs(args[0])) ** 2;
      const beside = VALUES[fn] ?? values.map(() => 0.5);
      const op: Elementwise = {
        nodes: [{ fn, args: [...form.args.keys()], values: beside }],
        outputs: [form.args.length],
      };
      const inputs = form.args.map((dtype, i) => drawn(random(i + 1), dtype, [1001]));
      const [got] = await gpuOp(backend, elementwise, op, inputs);
      const [exact] = referenceOp(elementwise, op, inputs, 'float64');
      for (let i = 0; i < got.data.length; i++) {
        const args = inputs.map(({ data }) => data[i]);
        const [value, want] = [got.data[i], exact.data[i]];
        const isSame = Object.is(value, form.result === 'f32' ? Math.fround(want) : want);
        if (!isSame && !(form.result === 'f32' && Math.abs(value - want) <= most(args, want)))
          throw new Error(`${fn}(${args}) expected ${want}, got ${value}`);
      }
    },
  );

  it('broadcasts, has several outputs, and works in place', async () => {
    const next = random(3);
    for (const [a, b] of [
      [[], []],
      [[5], [5]],
      [
        [2, 3, 4, 5],
        [3, 1, 5],
      ],
      [[130, 3], [3]],
      [
        [2, 1, 7],
        [3, 1],
      ],
    ]) {
      const inputs = [drawn(next, 'f32', a), drawn(next, 'f32', b)];
      const want = referenceOp(elementwise, masked, inputs);
      const inPlace =
        a.length > 2 && b.length < a.length && a[1] !== 1 ? [undefined, { output: 1, input: 0 }] : [undefined];
      for (const place of inPlace) expect(await gpuOp(backend, elementwise, masked, inputs, place)).toEqual(want);
    }
  });

  it('reduces large angles, divides and looks up as exactly as ints are', async () => {
    const x = tensor('f32', [6], [1e5, 1e6, 123456.7, -1e7, 1e30, 3e38]);
    const [y] = await gpuOp(backend, elementwise, sine, [x]);
    for (const [i, angle] of x.data.entries()) expect(y.data[i]).toBeCloseTo(Math.sin(angle), 6);
  });

  it('tells NaN and infinities by their bits', async () => {
    const x = tensor('f32', [5], [Number.NaN, Infinity, -Infinity, 0, 1]);
    const op: Elementwise = {
      nodes: [
        { fn: 'IsNaN', args: [0] },
        { fn: 'IsInf', args: [0] },
        { fn: 'Max', args: [0, 0] },
      ],
      outputs: [1, 2, 3],
    };
    const results = await gpuOp(backend, elementwise, op, [x]);
    expect(results.map(({ data }) => [...data])).toEqual([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [...x.data]]);
    const y = tensor('f32', [5], [0, 1, Number.NaN, Number.NaN, Infinity]);
    for (const fn of ['Less', 'LessOrEqual', 'Equal', 'Greater'] as const) {
      const compare = { nodes: [{ fn, args: [0, 1] }], outputs: [2] };
      for (const pair of [
        [x, y],
        [y, x],
        [x, x],
      ])
        expect(await gpuOp(backend, elementwise, compare, pair)).toEqual(referenceOp(elementwise, compare, pair));
    }
  });
});
