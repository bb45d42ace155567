import { expect, it } from 'vitest';
import { gaussians, random } from '../../test/random.ts';
import { type AttentionRun, type KvCache, type KvShape, rowMajor } from '../attention/contract.ts';
import { attentionWork, createBackend, createKvCache } from '../index.ts';
import { Program, type Slot, type Step } from './program.ts';

const shape = { batch: 1, kvHeads: 2, headSize: 16 };
const [HEADS, WIDTH] = [4, 64];
/** So many that scratch of later attentions is larger than that of the first one. */
const PASTS = [3, 1100, 70];

/** Three attentions of one token, each on a cache of its own, with a script before the last one. */
async function attentions(isAlone: boolean) {
  const device = await createBackend('wasm', { threads: 1, debug: true });
  const next = random(7);
  /** Which attention was told, and how many had run before. */
  const order: string[] = [];
  const asks = PASTS.map((past, layer) => {
    const cache = createKvCache(device, shape);
    cache.append(gaussians(next, 2 * past * 16), gaussians(next, 2 * past * 16), past);
    const run: AttentionRun<KvCache> = { cache, past: [past] };
    return { run, now: run, layer };
  });
  const op = {
    ...{ ...shape, valueSize: 16, rows: 1, newKeys: 1, heads: HEADS, isCausal: true },
    ...{ q: rowMajor(1, 16, 64), k: rowMajor(1, 16, 32), v: rowMajor(1, 16, 32), out: rowMajor(1, 16, 64) },
  };
  const floats = (count: number, more: Partial<Slot<unknown>>) => ({ byteLength: 4 * count, ...more });
  const kept = { isInput: true, isOutput: true }; // nothing else lies there
  const slots = [
    ...[floats(WIDTH, kept), floats(32, kept), floats(32, kept)],
    ...asks.map(() => floats(WIDTH, { isOutput: true })),
  ] as Slot<ReturnType<typeof device.alloc>>[];
  const none = undefined;
  const steps: Step[] = asks.map((ask) => {
    const run = () => {
      order.push(`${ask.layer} after ${asks.filter((_, i) => !Number.isNaN(outOf(i)[0])).length}`);
      return ask.now;
    };
    const operands = [ask.layer === 0 ? 0 : 2 + ask.layer, 1, 2, none, none, none, 3 + ask.layer];
    return { kind: 'work', work: attentionWork(op, run, 'int16', isAlone), operands, writes: [6] };
  });
  steps.splice(2, 0, { kind: 'script', run: () => order.push('script'), reads: [], writes: [] });
  const program = new Program(device, slots, steps);
  const outOf = (layer: number): Float32Array => {
    const out = new Float32Array(WIDTH);
    device.read(program.handle(3 + layer), out);
    return out;
  };
  let block = device.alloc(program.byteLength);
  program.bind(block);
  const inputs = [WIDTH, 32, 32].map((count) => gaussians(next, count));
  return {
    order,
    asks,
    device,
    /** In a block of its own, each time. */
    run: (): number[] => {
      const other = device.alloc(program.byteLength + 64);
      program.bind(other);
      device.free(block);
      block = other;
      inputs.forEach((input, slot) => {
        device.write(program.handle(slot), input);
      });
      for (const layer of asks.keys())
        device.write(program.handle(3 + layer), new Float32Array(WIDTH).fill(Number.NaN));
      program.run();
      return asks.flatMap((_, layer) => [...new Uint32Array(outOf(layer).buffer)]);
    },
  };
}

it('attentions with caches of their own are told together, up to the next script, and give the same bits', async () => {
  const [together, alone] = [await attentions(true), await attentions(false)];
  for (let run = 0; run < 3; run++) {
    expect(together.run()).toEqual(alone.run());
    expect(together.order.splice(0)).toEqual(['0 after 0', '1 after 0', 'script', '2 after 2']);
    expect(alone.order.splice(0)).toEqual(['0 after 0', '1 after 1', 'script', '2 after 2']);
    if (run === 0) for (const { device } of [together, alone]) device.alloc(2 ** 20); // scratch has to go elsewhere when it grows
  }
  for (const { device } of [together, alone]) device.dispose();
});

it('a run that failed while attentions were told leaves nothing behind', async () => {
  const { asks, run, device, order } = await attentions(true);
  const bits = run();
  order.length = 0;
  asks[1]!.now = { ...asks[1]!.run, past: [5000] };
  expect(run).toThrow(RangeError);
  expect(order).toEqual(['0 after 0', '1 after 0']);
  asks[1]!.now = asks[1]!.run;
  expect(run()).toEqual(bits);
  device.dispose();
});

it('a call whose caches are of different kinds, one after the other, gives what a call for each gives', async () => {
  const device = await createBackend('wasm', { threads: 1, debug: true });
  const rows = 70; // factors tell from the second page on
  const op = {
    ...{ ...shape, valueSize: 16, rows, newKeys: rows, heads: HEADS, isCausal: true },
    ...{ q: rowMajor(rows, 16, 64), k: rowMajor(rows, 16, 32), v: rowMajor(rows, 16, 32), out: rowMajor(rows, 16, 64) },
  };
  const operands = [64, 32, 32, 0, 0, 0, 64].map((width) => (width ? device.alloc(4 * rows * width) : undefined));
  const next = random(8);
  for (const i of [0, 1, 2]) device.write(operands[i]!, gaussians(next, rows * [64, 32, 32][i]!));
  let cache = createKvCache(device, shape);
  const bind = () =>
    device.bind(
      attentionWork(op, () => ({ cache })),
      operands,
    );
  const call = bind();
  const resultOf = (each: typeof call, kind: Partial<KvShape>) => {
    cache = createKvCache(device, { ...shape, ...kind });
    device.write(operands[6]!, new Float32Array(rows * 64).fill(Number.NaN));
    device.run(each);
    const out = new Float32Array(rows * 64);
    device.read(operands[6]!, out);
    // What was stored tells, too: factors are found from keys.
    const bits = [out, cache.keys(rows), cache.values(rows)].flatMap((floats) => [...new Uint32Array(floats.buffer)]);
    cache.dispose();
    return bits;
  };
  const factors = Float32Array.from({ length: 32 }, (_, i) => 1 + i);
  const kinds: readonly Partial<KvShape>[] = [
    ...[{}, { rotarySize: 4 }, {}, { isInterleaved: true }, { rotarySize: 0 }, { factors: false as const }],
    ...[{ factors }, {}, { type: 'float' as const }, { type: 'int8' as const }, {}],
  ];
  const [found, given] = [resultOf(bind(), {}), resultOf(bind(), { factors })];
  expect(found).not.toEqual(given);
  for (const kind of kinds) expect(resultOf(call, kind), JSON.stringify(kind)).toEqual(resultOf(bind(), kind));
  device.dispose();
});
