/** Texts without end: whatever a caller does with old pasts, memory stays what it is. */
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { reportOf } from '../../src/register.ts';
import { ort, session } from '../ort.ts';
import { CONFIG, storyModel } from '../story.ts';

const STEPS = process.env.MSD_TEST_ALL === '1' ? 100_000 : 1500;
const PROMPT = 100;
/** Keys at which a text is cut back to its prompt. */
const LONGEST = 200;

/** Tensors that a caller forgets go when the engine collects garbage; when it does is its own business, so the test asks for it. */
const STEPS_PER_COLLECTION = 256;
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const { layers, kvHeads, headDim } = CONFIG;
const NAMES = Array.from({ length: layers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat();

type Past = Readonly<Record<string, ort.Tensor>>;

async function read(s: ort.InferenceSession, past: Past, length: number, ids: readonly number[]): Promise<Past> {
  const total = length + ids.length;
  const results = await s.run({
    input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
    attention_mask: new ort.Tensor('int64', new BigInt64Array(total).fill(1n), [1, total]),
    ...Object.fromEntries(NAMES.map((name) => [`past_key_values.${name}`, past[name]!])),
  });
  return Object.fromEntries(NAMES.map((name) => [name, results[`present.${name}`]!]));
}

describe('memory of a text without end', () => {
  it.each([
    ['goes on and is cut back, pasts are disposed of', true, LONGEST, 6e6],
    ['goes on and is cut back, pasts are forgotten', false, LONGEST, 6e6],
    ['is begun anew after every token, pasts are forgotten', false, PROMPT + 1, 32e6],
  ])('%s', { timeout: 600_000 }, async (_, disposes, longest, most) => {
    const s = await session(storyModel('q4'), { name: 'msd', claim: 'all', threads: 1 });
    const empty = new ort.Tensor('float32', new Float32Array(0), [1, kvHeads, 0, headDim]);
    const prompt = await read(
      s,
      Object.fromEntries(NAMES.map((name) => [name, empty])),
      0,
      Array.from({ length: PROMPT }, (_, i) => 4 + (i % 300)),
    );
    let bytes = 0;
    let [past, length] = [prompt, PROMPT];
    for (let step = 0; step < STEPS; step++) {
      const next = await read(s, past, length, [5 + (step % 100)]);
      if (disposes && past !== prompt) for (const tensor of Object.values(past)) tensor.dispose();
      [past, length] = [next, length + 1];
      if (length >= longest) {
        if (disposes) for (const tensor of Object.values(past)) tensor.dispose();
        [past, length] = [prompt, PROMPT];
      }
      if (step % STEPS_PER_COLLECTION === 0) {
        collectGarbage();
        await setImmediate(); // the engine tells what it collected between tasks
      }
      if (step % 50 === 0) bytes = Math.max(bytes, reportOf(s)!.memory.wasmBytes);
    }
    expect(bytes).toBeLessThan(most);
    await s.release();
  });
});
