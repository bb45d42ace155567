import { describe, expect, it } from 'vitest';
import { firstDifference, gaussians, random, randomWeights } from '../../test/random.ts';
import type { PreparedMatrix } from '../backends/backend.ts';
import type { Device, OpWork, Work } from '../backends/device.ts';
import { createBackend } from '../index.ts';
import { elementwise, norm } from '../nn/index.ts';
import type { OpSpec } from '../ops/op.ts';
import { Program, type Slot, type Step } from './program.ts';

const [M, K, N] = [3, 64, 96];
const next = random(1);
const shapes = [
  { format: 'int4', blockSize: 32, N, K, asymmetric: false },
  { format: 'int4', blockSize: 32, N: K, K: N, asymmetric: false },
] as const;
const weights = shapes.map((shape) => randomWeights(next, shape));
const [gate, up, down] = [weights[0], randomWeights(next, shapes[0]), weights[1]];
const scale = gaussians(next, K);

const type = (...dims: number[]) => ({ dtype: 'f32', dims }) as const;
const opOf = <O>(spec: OpSpec<O>, op: O, inputs: OpWork['inputs']): OpWork => ({
  kind: 'op',
  spec: spec as OpSpec<unknown>,
  op,
  inputs,
});
const swish = {
  nodes: [
    { fn: 'Silu', args: [0] },
    { fn: 'Mul', args: [2, 1] },
  ],
  outputs: [3],
} as const;

/** A layer: x + down(silu(gate(norm x)) · up(norm x)). */
async function layer<H, P extends PreparedMatrix>(device: Device<H, P>, isOutput = true) {
  const [g, u, d] = [await device.prepare(gate), await device.prepare(up), await device.prepare(down)];
  const floats = (count: number, more: Partial<Slot<H>> = {}): Slot<H> => ({ byteLength: 4 * count, ...more });
  const factors = device.alloc(4 * K);
  device.write(factors, scale);
  const slots = [
    floats(M * K, { isInput: true }), // 0 x
    floats(K, { at: factors }), // 1
    floats(M * K), // 2 norm
    floats(M * N), // 3 gate
    floats(M * N), // 4 up
    floats(M * N), // 5 gated
    floats(M * K, { isOutput }), // 6 y
  ];
  const product = (matrices: readonly P[]): Work => ({ kind: 'product', matrices, M });
  const none = undefined;
  const steps: Step[] = [
    {
      kind: 'work',
      work: opOf(norm, { kind: 'rms', epsilon: 1e-6 }, [type(M, K), type(K), none, none, none]),
      operands: [0, 1, none, none, none, 2],
      writes: [5],
    },
    { kind: 'work', work: product([g, u]), operands: [2, none, none, none, 3, none, none, none, 4], writes: [4, 8] },
    { kind: 'work', work: opOf(elementwise, swish, [type(M, N), type(M, N)]), operands: [3, 4, 5], writes: [2] },
    { kind: 'work', work: product([d]), operands: [5, none, none, 0, 6], writes: [4] },
  ];
  const program = new Program<H>(device as Device<H>, slots, steps);
  const block = device.alloc(program.byteLength);
  program.bind(block);
  return { program, block };
}

async function run<H>({ program }: { program: Program<H> }, device: Device<H>, x: Float32Array) {
  device.write(program.handle(0), x);
  program.run();
  await device.flush();
  const y = new Float32Array(M * K);
  await device.read(program.handle(6), y);
  return y;
}

describe('programs', () => {
  it('give the same bits on WASM and on the reference, run after run', async () => {
    const wasm = await createBackend('wasm', { debug: true });
    const reference = await createBackend('reference', { arithmetic: 'float32' });
    const [a, b] = [await layer(wasm), await layer(reference)];
    for (let i = 0; i < 3; i++) {
      const x = gaussians(next, M * K);
      expect(firstDifference(await run(a, wasm, x), await run(b, reference, x))).toBe(-1);
    }
    expect(a.program.kernels.map((ids) => ids.length)).toEqual([1, 2, 1, expect.any(Number)]);
    wasm.dispose();
    reference.dispose();
  });

  it('go on in another block, from the next run of each step on', async () => {
    const wasm = await createBackend('wasm', { debug: true });
    const reference = await createBackend('reference', { arithmetic: 'float32' });
    const [a, b] = [await layer(wasm), await layer(reference)];
    const move = <H>({ program, block }: Awaited<ReturnType<typeof layer<H, PreparedMatrix>>>, device: Device<H>) => {
      device.write(program.handle(0), new Float32Array(M * K).fill(Number.NaN));
      program.bind(device.alloc(program.byteLength + 128));
      device.free(block);
    };
    for (let i = 0; i < 2; i++) {
      const x = gaussians(next, M * K);
      expect(firstDifference(await run(a, wasm, x), await run(b, reference, x))).toBe(-1);
      if (i === 0) move(a, wasm as Device<ReturnType<typeof wasm.alloc>>);
      if (i === 0) move(b, reference as Device<ReturnType<typeof reference.alloc>>);
    }
    wasm.dispose();
    reference.dispose();
  });

  it('keep values that never live together in the same bytes', async () => {
    const device = await createBackend('wasm', { threads: 1 });
    const { program } = await layer(device);
    const at = Array.from({ length: 7 }, (_, slot) => program.handle(slot).ptr);
    expect(at[5]).toBe(at[3]); // gated lies where gate lay: the op works in place
    expect(at[6]).toBe(at[0]); // y is x + …, where x lay
    expect(program.byteLength).toBeLessThan(4 * (2 * M * K + 3 * M * N));
    expect(program.byteLength).toBe(4 * (2 * M * K + 2 * M * N));
    device.dispose();
  });

  it('keep the outputs of ops that threads share apart from their inputs', async () => {
    const device = await createBackend('wasm', { threads: 1 });
    const threaded: Device<ReturnType<typeof device.alloc>> = Object.create(device, {
      isShared: { value: () => true },
    });
    const slots = [{ byteLength: 400, isInput: true }, { byteLength: 400, isInput: true }, { byteLength: 400 }];
    const step = {
      kind: 'work',
      work: opOf(elementwise, swish, [type(100), type(100)]),
      operands: [0, 1, 2],
      writes: [2],
    } as const;
    expect(new Program(device, slots, [step]).byteLength).toBe(2 * 448);
    expect(new Program(threaded, slots, [step]).byteLength).toBe(3 * 448);
    device.dispose();
  });

  it('run scripts in between, and parts of themselves', async () => {
    const device = await createBackend('wasm');
    const order: string[] = [];
    const slots = [
      { byteLength: 64, isInput: true },
      { byteLength: 64, isOutput: true },
    ];
    const script = (name: string, reads: number[], writes: number[]) =>
      ({ kind: 'script', run: () => order.push(name), reads, writes }) as const;
    const program = new Program(device, slots, [script('a', [0], []), script('b', [0], [1])]);
    program.bind(device.alloc(program.byteLength));
    program.run();
    program.run(1);
    program.run(0, 1);
    expect(order).toEqual(['a', 'b', 'b', 'a']);
    expect(program.kernels).toEqual([[], []]);
    device.dispose();
  });
});
