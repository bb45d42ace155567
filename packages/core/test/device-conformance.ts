/**
 * One suite for every device: what bound calls have to give, whatever they run on.
 *
 *   deviceConformance('wasm', () => createBackend('wasm', { debug: true }), { bits: 'exact' });
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PreparedMatrix } from '../src/backends/backend.ts';
import type { Device, ProductWork } from '../src/backends/device.ts';
import { type ActivationBlock, errorBound, msdMatmul } from '../src/index.ts';
import { byteLength, elementCount, type Tensor, type TensorType, tensorArrays } from '../src/ops/op.ts';
import { type OpCase, opCases } from './op-cases.ts';
import { firstDifference, gaussians, random, randomWeights, type WeightShape } from './random.ts';

export interface DeviceConformanceOptions {
  /** 'exact': the bits of the f32 contract. 'bound': products within the proved bound, ops close to float64. */
  readonly bits: 'exact' | 'bound';
  /** Numbers of rows of products; default 1, 5 and 300. */
  readonly rows?: readonly number[];
  /** Ops that the device has; default all. */
  readonly takes?: (test: OpCase) => boolean;
}

const emptyLike = (type: TensorType): Tensor => ({
  ...type,
  data: new tensorArrays[type.dtype](elementCount(type.dims)),
});

const SHAPES: readonly WeightShape[] = [
  { format: 'int4', N: 49, K: 320, blockSize: 32, asymmetric: true },
  { format: 'int8', N: 32, K: 320, blockSize: null, asymmetric: false },
];

export function deviceConformance<H extends { readonly byteLength: number }, P extends PreparedMatrix>(
  name: string,
  create: () => Promise<Device<H, P>>,
  { bits, rows = [1, 5, 300], takes = () => true }: DeviceConformanceOptions,
): void {
  describe(`device: ${name}`, () => {
    let device: Device<H, P>;
    beforeAll(async () => {
      device = await create();
    });
    afterAll(() => device.dispose());

    function put(data: ArrayBufferView): H {
      const handle = device.alloc(Math.max(4, data.byteLength), 'test');
      if (data.byteLength > 0) device.write(handle, data);
      return handle;
    }

    async function get(handle: H, type: TensorType): Promise<Tensor> {
      const tensor = emptyLike(type);
      await device.read(handle, tensor.data);
      return tensor;
    }

    function same(got: ArrayLike<number>, want: ArrayLike<number>, exact: ArrayLike<number>, what: string) {
      const at =
        bits === 'exact'
          ? firstDifference(got, want)
          : Array.from(got).findIndex((value, i) => {
              if (!Number.isFinite(exact[i])) return Number.isFinite(value); // which of them it is, a GPU leaves open
              const scale = Math.abs(exact[i]);
              return !(Object.is(value, want[i]) || Math.abs(value - exact[i]) <= 1e-5 * (1 + scale));
            });
      if (at >= 0) expect.fail(`${what}, at ${at}: expected ${want[at]}, got ${got[at]}`);
    }

    it('computes every op, wherever its operands lie', async () => {
      for (const test of opCases().filter(takes)) {
        const { spec, op, inputs } = test;
        const types = spec.infer(op, inputs);
        const [want, exact] = (['float32', 'float64'] as const).map((arithmetic) => {
          const outputs = types.map((type) =>
            type.dtype === 'f32' && arithmetic === 'float64'
              ? { ...type, data: new Float64Array(elementCount(type.dims)) }
              : emptyLike(type),
          );
          spec.reference!(op, inputs, outputs, arithmetic);
          return outputs;
        });
        const given = inputs.map((input) => input && put(input.data));
        // Outputs are parts of one buffer.
        const offsets = types.map((_, i) =>
          types.slice(0, i).reduce((sum, type) => sum + lines(byteLength(type)), 256),
        );
        const block = device.alloc(offsets.at(-1)! + lines(byteLength(types.at(-1)!)), 'block');
        const results = types.map((type, i) => device.part(block, offsets[i], byteLength(type)));
        const call = device.bind({ kind: 'op', spec, op, inputs }, [...given, ...results]);
        for (const moved of [false, true]) {
          const other = moved ? types.map((type) => device.alloc(Math.max(4, byteLength(type)), 'other')) : results;
          const operands = Object.fromEntries(other.map((handle, i) => [inputs.length + i, handle]));
          device.run(call, moved ? { operands } : undefined);
          await device.flush();
          for (const [i, type] of types.entries()) {
            const { data } = await get(other[i], type);
            same(data, want[i].data, exact[i].data, `${spec.name} ${JSON.stringify(op)}, output ${i}`);
          }
          if (moved) for (const handle of other) device.free(handle);
        }
        for (const handle of [...given, block]) if (handle) device.free(handle);
      }
    });

    it('multiplies with several matrices, and ends', async () => {
      const next = random(3);
      const weights = SHAPES.map((shape) => randomWeights(next, shape));
      const matrices: P[] = [];
      for (const each of weights) matrices.push(await device.prepare(each));
      const { K } = SHAPES[0];
      for (const M of rows)
        for (const activationBlock of [256, 'row'] as ActivationBlock[]) {
          const x = gaussians(next, M * K);
          const [N0, N1] = SHAPES.map(({ N }) => N);
          const [bias, residual] = [gaussians(next, N0), gaussians(next, M * N1)];
          const handles = { x: put(x), bias: put(bias), residual: put(residual) };
          const outs = SHAPES.map(({ N }) => device.alloc(4 * M * N));
          const work: ProductWork<P> = {
            kind: 'product',
            matrices,
            M,
            activationBlock,
            each: [{}, { activation: 'silu' }],
          };
          const call = device.bind(work, [
            handles.x,
            ...[handles.bias, undefined, undefined, outs[0]],
            ...[undefined, undefined, handles.residual, outs[1]],
          ]);
          device.run(call);
          device.run(call, { operands: { 8: handles.residual } }); // out += …
          await device.flush();
          const options = { M, activationBlock, arithmetic: 'float32' } as const;
          const first = msdMatmul(x, weights[0], { ...options, bias });
          const second = msdMatmul(x, weights[1], { ...options, activation: 'silu', residual });
          const [got, once, added] = await Promise.all([
            get(outs[0], { dtype: 'f32', dims: [M, N0] }),
            get(outs[1], { dtype: 'f32', dims: [M, N1] }),
            get(handles.residual, { dtype: 'f32', dims: [M, N1] }),
          ]);
          if (bits === 'exact') {
            expect(firstDifference(got.data, first)).toBe(-1);
            expect(firstDifference(once.data, second)).toBe(-1);
            expect(firstDifference(added.data, second)).toBe(-1);
          } else {
            const bounds = [
              errorBound(x, weights[0], { activationBlock, bias, device: 'webgpu' }),
              errorBound(x, weights[1], { activationBlock, device: 'webgpu' }).map((bound) => 2 * bound + 1e-5),
            ];
            for (const [values, want, bound] of [
              [got.data, first, bounds[0]],
              [once.data, second, bounds[1]],
              [added.data, second, bounds[1]],
            ] as const)
              for (let i = 0; i < want.length; i++)
                if (!(Math.abs(values[i] - want[i]) <= 2 * bound[i]))
                  expect.fail(`M=${M}, at ${i}: expected ${want[i]} ± ${2 * bound[i]}, got ${values[i]}`);
          }
          for (const handle of [...Object.values(handles), ...outs]) device.free(handle);
        }
      for (const matrix of matrices) matrix.dispose();
    });

    it('refuses operands that are missing, too small, gone, or in the way', async () => {
      const [norm] = opCases().filter(takes);
      const { spec, op, inputs } = norm;
      const types = spec.infer(op, inputs);
      const given = inputs.map((input) => input && put(input.data));
      const out = device.alloc(byteLength(types[0]));
      const work = { kind: 'op', spec, op, inputs } as const;
      expect(() => device.bind(work, given)).toThrow(RangeError);
      expect(() => device.bind(work, [undefined, ...given.slice(1), out])).toThrow(TypeError);
      expect(() => device.bind(work, [...given, device.part(out, 0, 4)])).toThrow(RangeError);
      const call = device.bind(work, [...given, out]);
      expect(() => device.run(call, { operands: { [given.length]: device.part(out, 0, 4) } })).toThrow(RangeError);
      device.run(call);
      await device.flush();
      const matrix = await device.prepare(randomWeights(random(1), SHAPES[1]));
      const [x, y] = [device.alloc(4 * 320), device.alloc(4 * 32)];
      const product: ProductWork<P> = { kind: 'product', matrices: [matrix], M: 1 };
      const none = undefined;
      expect(() => device.bind({ ...product, matrices: [] }, [x])).toThrow(RangeError);
      expect(() => device.bind(product, [x, none, none, none, none])).toThrow(TypeError);
      expect(() => device.bind({ ...product, M: 2 }, [x, none, none, none, y])).toThrow(RangeError);
      const bound = device.bind(product, [x, none, none, none, y]);
      expect(() => device.run(bound, { operands: { 1: y } })).toThrow(RangeError);
      matrix.dispose();
      expect(() => {
        device.run(bound);
      }).toThrow(/disposed of/);
      for (const handle of [...given, out, x, y]) if (handle) device.free(handle);
    });
  });
}

const lines = (bytes: number): number => Math.ceil(bytes / 256) * 256;
