/**
 * `npm run bench -- messages`: what a run costs more in a Worker of its own (@msd/onnx/worker) than beside its caller, in Node. CPU time
 * of all threads, which other programs do not change; the shortest wall time beside it is what a caller waits at least.
 */
import { quantizeWeights } from '@msd/core';
import { register } from '@msd/onnx/register';
import { createSession } from '@msd/onnx/worker';
import { writeModel } from '@msd/onnx/write';
import * as ort from 'onnxruntime-web';

/** Columns in and out: each row is 256 bytes either way. */
const WIDTH = 64;
const ROWS: readonly number[] = [1, 256, 4096];
const RUNS = 40;

/** Of one run, over that of the same session beside its caller. */
export interface MessageCost {
  /** Bytes that go one way, and as many the other. */
  readonly bytes: number;
  readonly how: 'copied' | 'moved';
  readonly cpuMicroseconds: number;
  /** Of all of a run in the Worker, and of one beside its caller. */
  readonly wallMicroseconds: number;
  readonly ownWallMicroseconds: number;
}

function product(): Uint8Array {
  const values = Float32Array.from({ length: WIDTH * WIDTH }, (_, i) => Math.sin(i));
  const { data, scales } = quantizeWeights(values, { N: WIDTH, K: WIDTH, format: 'int4', blockSize: 32 });
  const int = (value: number) => ({ int: value });
  return writeModel({
    graph: {
      nodes: [
        {
          opType: 'MatMulNBits',
          domain: 'com.microsoft',
          inputs: ['x', 'q', 's'],
          outputs: ['y'],
          attributes: { K: int(WIDTH), N: int(WIDTH), bits: int(4), block_size: int(32) },
        },
      ],
      initializers: [
        { name: 'q', dtype: 'uint8', dims: [WIDTH, WIDTH / 32, 16], data },
        { name: 's', dtype: 'float32', dims: [WIDTH, WIDTH / 32], data: scales },
      ],
      inputs: [{ name: 'x', dtype: 'float32', dims: ['rows', WIDTH] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['rows', WIDTH] }],
    },
  });
}

interface Timed {
  readonly cpu: number;
  readonly wall: number;
}

/** Microseconds of one of RUNS. */
async function timed(run: () => Promise<unknown>): Promise<Timed> {
  const before = process.cpuUsage();
  let wall = Infinity;
  for (let i = 0; i < RUNS; i++) {
    const start = performance.now();
    await run();
    wall = Math.min(wall, 1000 * (performance.now() - start));
  }
  const { user, system } = process.cpuUsage(before);
  return { cpu: (user + system) / RUNS, wall };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** Interleaved, after as many rounds to warm up as are measured. */
export async function measureMessages(rounds: number): Promise<MessageCost[]> {
  ort.env.wasm.numThreads = 1;
  register(ort);
  const options = { executionProviders: [{ name: 'msd', threads: 1, claim: 'all' as const }] };
  const here = await ort.InferenceSession.create(product(), options as object);
  const there = await createSession(product(), options);
  const costs: MessageCost[] = [];
  for (const rows of ROWS) {
    const dims = [rows, WIDTH];
    const fresh = (): Float32Array => new Float32Array(rows * WIDTH).fill(0.5);
    const [x, kept] = [fresh(), new ort.Tensor('float32', fresh(), dims)];
    const own: Timed[] = [];
    const far = { copied: [] as Timed[], moved: [] as Timed[] };
    for (let round = 0; round < 2 * rounds; round++) {
      const results = {
        own: await timed(() => here.run({ x: kept })),
        copied: await timed(() => there.run({ x: { type: 'float32', dims, data: x } })),
        moved: await timed(() => there.run({ x: { type: 'float32', dims, data: fresh() } }, { transfer: true })),
      };
      if (round < rounds) continue;
      own.push(results.own);
      far.copied.push(results.copied);
      far.moved.push(results.moved);
    }
    for (const how of ['copied', 'moved'] as const)
      costs.push({
        bytes: 4 * rows * WIDTH,
        how,
        cpuMicroseconds: median(far[how].map(({ cpu }, i) => cpu - own[i]!.cpu)),
        wallMicroseconds: Math.min(...far[how].map(({ wall }) => wall)),
        ownWallMicroseconds: Math.min(...own.map(({ wall }) => wall)),
      });
  }
  await here.release();
  await there.release();
  return costs;
}

/** For docs/onnx.md. */
export function messagesTable(costs: readonly MessageCost[]): string {
  const rows = costs.map(
    ({ bytes, how, cpuMicroseconds, wallMicroseconds, ownWallMicroseconds }) =>
      `| ${bytes < 1024 ? `${bytes} bytes` : `${bytes / 1024} KiB`} | ${how} | ${Math.round(cpuMicroseconds)} | ${Math.round(wallMicroseconds)} | ${Math.round(ownWallMicroseconds)} |`,
  );
  return [
    '| each way | fed arrays are | CPU time more, µs | a run takes at least, µs | without a Worker, µs |',
    '|---|---|---|---|---|',
    ...rows,
  ].join('\n');
}
