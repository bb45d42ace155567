/**
 * A process of its own for what the fuzz test asks of whole sessions: create and run of damaged models in one process, in
 * which a good session keeps giving the same bits. Arguments: first seed, count. Prints a line every 50 models.
 */

import { gaussian, random } from './models.ts';
import { corpus, mutant } from './mutate.ts';
import { floats, ort, session, tensor } from './ort.ts';

const TYPED = new Set([
  'OnnxFormatError',
  'RangeError',
  'TypeError',
  'UnsupportedError',
  'BackendUnavailableError',
  'ForeignRunError',
]);
const MAX_ELEMENTS = 1e5;

/** Feeds of the right types and, where the model asks for little enough, shapes. */
function feedsFor(s: ort.InferenceSession): Record<string, ort.Tensor> | undefined {
  const feeds: Record<string, ort.Tensor> = {};
  for (const input of s.inputMetadata) {
    if (!input.isTensor) return undefined;
    const dims = input.shape.map((dim) => (typeof dim === 'number' && dim < 2 ** 31 ? dim : 2));
    const size = dims.reduce((product, dim) => product * dim, 1);
    if (size > MAX_ELEMENTS) return undefined;
    if (input.type === 'float32') feeds[input.name] = tensor(gaussian(random(size), size), dims);
    else if (input.type === 'bool') feeds[input.name] = new ort.Tensor('bool', new Uint8Array(size), dims);
    else if (input.type === 'int64') feeds[input.name] = new ort.Tensor('int64', new BigInt64Array(size), dims);
    else return undefined;
  }
  return feeds;
}

const [first, count] = process.argv.slice(2).map(Number) as [number, number];
const files = corpus();
const seeds = [...files].filter(([name]) => !name.startsWith('regression-')).map(([, bytes]) => bytes);
const good = await session(files.get('chain.onnx')!);
const x = tensor(gaussian(random(1), 64), [2, 32]);
const expected = floats((await good.run({ x })).y);
const outcomes: Record<string, number> = {};

async function attempt(bytes: Uint8Array, claim: 'auto' | 'all'): Promise<string> {
  try {
    const s = await session(bytes, { name: 'msd', claim }, { logSeverityLevel: 4 });
    try {
      const feeds = feedsFor(s);
      if (!feeds) return 'created';
      const results = await s.run(feeds, { logSeverityLevel: 4 });
      return await compared(bytes, feeds, results);
    } finally {
      await s.release();
    }
  } catch (error) {
    const { name } = error as Error;
    if (!TYPED.has(name)) throw error;
    return name;
  }
}

/** What onnxruntime-web alone makes of a model that ran: no number may be another one. */
async function compared(
  bytes: Uint8Array,
  feeds: Record<string, ort.Tensor>,
  own: ort.InferenceSession.OnnxValueMapType,
) {
  let plain: ort.InferenceSession | undefined;
  try {
    // Its fusions take an exponent of 2.005 for 2: the model itself is the oracle.
    plain = await session(bytes, 'wasm', { logSeverityLevel: 4, graphOptimizationLevel: 'disabled' });
    const results = await plain.run(feeds, { logSeverityLevel: 4 });
    for (const [name, expected] of Object.entries(results)) {
      const miss = missOf(own[name] as ort.Tensor, expected as ort.Tensor);
      if (miss !== undefined) throw new Mismatch(`output '${name}': ${miss}`);
    }
    return 'ran';
  } catch (error) {
    if (error instanceof Mismatch) throw error;
    return 'ran, where onnxruntime-web does not';
  } finally {
    await plain?.release();
  }
}

class Mismatch extends Error {}

/** Far more than any bound: damage is looked for, not rounding. What is not finite there may be another such value here. */
const COARSE = 0.05;

function missOf(own: ort.Tensor | undefined, expected: ort.Tensor): string | undefined {
  if (own?.type !== expected.type || own.dims.join() !== expected.dims.join())
    return `expected ${expected.type} [${expected.dims}], got ${own?.type} [${own?.dims}]`;
  // Whole numbers that are made of floats (ArgMax) turn on their last bits.
  if (expected.type !== 'float32') return undefined;
  const [left, right] = [floats(own), floats(expected)];
  if (!right.every(Number.isFinite)) return undefined;
  const most = right.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-3);
  const at = left.findIndex((value, i) => !(Math.abs(value - right[i]!) <= COARSE * most));
  return at < 0 ? undefined : `[${at}] expected ${right[at]}, got ${left[at]}`;
}

for (let i = 0; i < count; i++) {
  const seed = first + i;
  let outcome: string;
  try {
    outcome = await attempt(mutant(seeds, seed), seed % 2 === 0 ? 'all' : 'auto');
  } catch (error) {
    console.error(`seed ${seed}: ${String(error)}`);
    process.exit(1);
  }
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  if (i % 50 === 49 || i === count - 1) {
    const { y } = await good.run({ x });
    if (!floats(y).every((value, index) => Object.is(value, expected[index]))) {
      console.error(`seed ${seed}: the good session changed its results`);
      process.exit(1);
    }
    console.log(JSON.stringify({ done: i + 1, outcomes }));
  }
}
await good.release();
