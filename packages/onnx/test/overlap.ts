/** Runs, creations and releases that overlap, on one module of ONNX Runtime: for every bundle, in Node and in browsers. */
import { expect } from 'vitest';
import type { OrtModule } from '../src/ort.ts';
import { register, reportOf } from '../src/register.ts';
import { gaussian, makeMatrix, model, random } from './models.ts';

const H = 64;
const a = makeMatrix({ name: 'a', N: H, K: H, seed: 4 });
const io = {
  inputs: [{ name: 'x', dtype: 'float32' as const, dims: ['rows', H] }],
  outputs: [{ name: 'y', dtype: 'float32' as const, dims: ['rows', H] }],
};
/** Three runs of ONNX Runtime in each run. */
const cut = model({
  nodes: [
    { opType: 'Selu', inputs: ['x'], outputs: ['s'] },
    a.node('s', 'p'),
    { opType: 'Mish', inputs: ['p'], outputs: ['q'] },
    a.node('q', 'r'),
    { opType: 'Celu', inputs: ['r'], outputs: ['y'] },
  ],
  initializers: a.initializers,
  ...io,
});
const whole = model({ nodes: [{ opType: 'Selu', inputs: ['x'], outputs: ['y'] }], ...io });

interface Session {
  run(feeds: object): Promise<Record<string, { data: Float32Array }>>;
  release(): Promise<void>;
}

interface Module {
  readonly env: { wasm: { numThreads?: number }; logLevel?: string };
  readonly Tensor: new (type: string, data: Float32Array, dims: number[]) => object;
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
}

/** @param namespace `import * as ort from 'onnxruntime-web/…'` */
export async function overlaps(namespace: unknown): Promise<void> {
  const ort = namespace as Module;
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'error';
  register(ort as unknown as OrtModule);
  const executionProviders = [{ name: 'msd', claim: 'all' }];
  const create = (bytes: Uint8Array): Promise<Session> =>
    ort.InferenceSession.create(bytes.slice(), { executionProviders, logSeverityLevel: 3 });
  const feed = (seed: number): object => ({ x: new ort.Tensor('float32', gaussian(random(seed), H), [1, H]) });
  const y = async (run: Promise<Record<string, { data: Float32Array }>>): Promise<Float32Array> => (await run).y!.data;

  // Creations at once, too.
  const sessions = await Promise.all([create(cut), create(cut), create(whole), create(whole)]);
  expect(reportOf(sessions[0]!)!.foreignRunsPerCall).toBe(3);
  expect(reportOf(sessions[2]!)!.whole).toBeDefined();
  const jobs = sessions.flatMap((session) => [1, 2, 3].map((seed) => ({ session, seed })));
  const alone: Float32Array[] = [];
  for (const { session, seed } of jobs) alone.push(await y(session.run(feed(seed))));
  const made = create(cut);
  const together = await Promise.all(jobs.map(({ session, seed }) => y(session.run(feed(seed)))));
  expect(together).toEqual(alone);
  // One that fails keeps nobody waiting.
  const wrong = { x: new ort.Tensor('float32', new Float32Array(2 * H), [1, 2 * H]) };
  const mixed = await Promise.allSettled(
    jobs.map(({ session, seed }, i) => y(session.run(i % 3 === 1 ? wrong : feed(seed)))),
  );
  for (const [i, result] of mixed.entries())
    expect(result.status === 'fulfilled' ? result.value : 'refused').toEqual(i % 3 === 1 ? 'refused' : alone[i]);
  // Released while runs wait: these are served, in the order of their calls, and others go on.
  const extra = await made;
  const last = [extra.run(feed(1)), sessions[2]!.run(feed(2))].map(y);
  const gone = [extra.release(), sessions[2]!.release()];
  const others = [sessions[0]!.run(feed(1)), sessions[3]!.run(feed(2))].map(y);
  expect(await Promise.all([...last, ...others])).toEqual([alone[0], alone[7], alone[0], alone[10]]);
  await Promise.all(gone);
  await expect(extra.run(feed(1))).rejects.toThrow('after release()');
  await Promise.all([sessions[0], sessions[1], sessions[3]].map((session) => session!.release()));
}
