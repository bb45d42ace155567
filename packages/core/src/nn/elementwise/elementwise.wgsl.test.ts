/** Elementwise functions on a GPU: text as it was reviewed, and results where there is one. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testGpu } from '../../../test/gpu.ts';
import { minimalDevice } from '../../../test/gpu-device.ts';
import { gpuOp } from '../../../test/gpu-ops.ts';
import { referenceOp, tensor } from '../../../test/ops.ts';
import { type Random, random } from '../../../test/random.ts';
import { ulp } from '../../../test/ulp.ts';
import { createBackend } from '../../index.ts';
import { type DType, elementCount, type Tensor } from '../../ops/op.ts';
import type { GpuDevice } from '../../webgpu/api.ts';
import type { WebGpuBackend } from '../../webgpu/index.ts';
import { elementwise } from './elementwise.ts';
import type { Elementwise } from './expression.ts';
import { type FunctionId, functionIds, functionOf } from './functions.ts';

const gpu = await testGpu();

const FLOATS = [0, 2 ** -24, 0.25, 0.5, 0.9, 1, 1.5, 2.5, Math.PI, 10, 87, 1e4, 2 ** 23 + 1, 2 ** 31];
const LIMITS = [Number.NaN, Infinity, -Infinity];
const INTS = [0, 1, 2, 7, 46341, 2 ** 16, 2 ** 31 - 1];

const oneOf = (next: Random, values: readonly number[]): number =>
  values[Math.floor(next() * values.length)] * (next() < 0.5 ? 1 : -1);
const draw: Record<DType, (next: Random) => number> = {
  f32: (next) => (next() < 0.3 ? oneOf(next, FLOATS) : (next() - 0.5) * 2 ** Math.floor(next() * 20 - 8)),
  i32: (next) => (next() < 0.5 ? oneOf(next, INTS) : Math.floor((next() - 0.5) * 2 ** 32)),
  bool: (next) => Math.floor(next() * 2),
};
const drawn = (next: Random, dtype: DType, dims: number[], one = draw[dtype]): Tensor =>
  tensor(
    dtype,
    dims,
    Array.from({ length: elementCount(dims) }, () => one(next)),
  );

/** What functions take besides their arguments. */
const VALUES: Partial<Record<FunctionId, readonly number[]>> = {
  PowConstant: [1.7],
  QuickGelu: [1.702],
  LeakyRelu: [0.01],
  Elu: [0.3],
  HardSigmoid: [0.2, 0.5],
  ConstantF32: [-Infinity],
  ConstantI32: [-(2 ** 31)],
  ConstantBool: [1],
};
const cases = functionIds.flatMap((fn) =>
  functionOf(fn).forms.map((form) => {
    const nodes = [{ fn, args: form.args.map((_, i) => i), values: VALUES[fn] ?? [] }];
    return { fn, form, op: { nodes, outputs: [form.args.length] } };
  }),
);

/** silu(a)·b, and where a is above c. */
const GATE: Elementwise = {
  nodes: [
    { fn: 'Silu', args: [0] },
    { fn: 'Mul', args: [3, 1] },
    { fn: 'Greater', args: [0, 2] },
  ],
  outputs: [4, 5],
};

const callOf = (op: Elementwise, inputs: readonly Tensor[]) =>
  elementwise.wgsl!(op, inputs, elementwise.infer(op, inputs))[0];

describe('elementwise in WGSL', () => {
  it('is the text that was reviewed', () => {
    const hashes = cases.map(({ form, op }) => {
      const { id, code } = callOf(
        op,
        form.args.map((type) => drawn(random(1), type, [3])),
      );
      return `${id} ${createHash('sha256').update(code()).digest('hex').slice(0, 16)}`;
    });
    expect(new Set(hashes.map((hash) => hash.split(' ')[0])).size).toBe(cases.length);
    expect(hashes).toMatchSnapshot();
  });

  it('can be read', async () => {
    const inputs = [[3, 1, 4], [2, 1], [4]].map((dims) => drawn(random(1), 'f32', dims));
    await expect(callOf(GATE, inputs).code()).toMatchFileSnapshot('./__snapshots__/elementwise_gate.wgsl');
  });
});

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

  it.each(cases)('$fn of $form.args: ints and bools to the bit, floats within the bound for GPUs', async (one) => {
    const { fn, form, op } = one;
    const next = random(17);
    const inputs = form.args.map((type) => drawn(next, type, [501]));
    const [got] = await gpuOp(backend, elementwise, op, inputs);
    const [exact] = referenceOp(elementwise, op, inputs, 'float64');
    const { ulps } = functionOf(fn);
    for (let i = 0; i < elementCount(got.dims); i++) {
      const args = inputs.map(({ data }) => data[i]);
      const want = exact.data[i];
      if (form.result === 'f32' && !Number.isFinite(Math.fround(want))) continue; // WGSL promises nothing
      // Functions without stated ulps end in a sum that may cancel.
      const magnitude = ulps ? want : Math.max(1, ...args.map(Math.abs));
      const bound = form.result === 'f32' ? (4 * (ulps?.(args, one.op.nodes[0].values) ?? 1) + 3) * ulp(magnitude) : 0;
      if (!(Math.abs(got.data[i] - want) <= bound + (bound && 2 ** -126)))
        throw new Error(`${fn}(${args}) expected ${want} ± ${bound}, got ${got.data[i]}`);
    }
  });

  it.each([
    'Equal',
    'Less',
    'LessOrEqual',
    'Greater',
    'Min',
    'Max',
    'IsNaN',
    'IsInf',
    'Neg',
    'CastToI32',
    'CastToBool',
  ] as const)('%s sees NaN and infinities', async (fn) => {
    const { form, op } = cases.find((known) => known.fn === fn && known.form.args.every((type) => type === 'f32'))!;
    const next = random(5);
    const any = () => (next() < 0.5 ? oneOf(next, LIMITS) : draw.f32(next));
    const inputs = form.args.map((type) => drawn(next, type, [300], any));
    const [got] = await gpuOp(backend, elementwise, op, inputs);
    const [want] = referenceOp(elementwise, op, inputs);
    expect(Array.from(got.data, (value) => value + 0)).toEqual(Array.from(want.data, (value) => value + 0));
  });

  it.each([
    [[3, 1, 4], [2, 1], [4]],
    [[5], [5], [5]],
    [[2, 3, 4, 5], [4, 1], []],
    [[], [], []],
    [[1], [7, 1], [1, 3]],
    [[0, 3], [3], [1]],
  ])('broadcasts %o, %o and %o, several outputs at once', async (...dims) => {
    const next = random(7);
    const inputs = dims.map((own) => drawn(next, 'f32', own));
    const got = await gpuOp(backend, elementwise, GATE, inputs);
    const want = referenceOp(elementwise, GATE, inputs);
    expect(Array.from(got[1].data)).toEqual(Array.from(want[1].data));
    got[0].data.forEach((value, i) => {
      expect(Math.abs(value - want[0].data[i])).toBeLessThanOrEqual(16 * ulp(want[0].data[i]) + 2 ** -126);
    });
  });

  it('works in place, bools too', async () => {
    const next = random(9);
    const op: Elementwise = { nodes: [{ fn: 'Xor', args: [0, 1] }], outputs: [2] };
    const inputs = [drawn(next, 'bool', [13]), drawn(next, 'bool', [1])];
    const [want] = referenceOp(elementwise, op, inputs);
    const [got] = await gpuOp(backend, elementwise, op, inputs, { output: 0, input: 0 });
    expect(got.data).toEqual(want.data);
  });
});
