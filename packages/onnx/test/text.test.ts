/**
 * Texts that a quantized cache must not change. int16: every greedy token is that of plain ONNX Runtime Web, except where the
 * latter's two best logits are so close that another correct implementation may take the other one. int8 loses something: how
 * much is measured along the same texts, and printed.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { reportOf } from '../src/register.ts';
import { conformanceFolder } from './conformance.ts';
import { session } from './ort.ts';
import { storyModel, storyPrompts } from './story.ts';
import { argMax, divergence, marginOf, type Step, write } from './text.ts';

const TOKENS = 200;
/** Logits that are closer may change places. */
const MARGIN = 0.02;

interface Texts {
  readonly model: Uint8Array | string;
  readonly prompts: readonly (readonly number[])[];
}

function stories260k(variant: string): Texts {
  const root = join(conformanceFolder!, 'stories260k');
  const { variants } = JSON.parse(readFileSync(join(root, 'expected.json'), 'utf8')) as {
    readonly variants: Record<string, { model: string; prompts: { input_ids: number[] }[] }>;
  };
  const { model, prompts } = variants[variant]!;
  return { model: join(root, model), prompts: [[1], ...prompts.map(({ input_ids }) => input_ids)] };
}

const subjects = [
  ['story model, q4', () => ({ model: storyModel('q4'), prompts: storyPrompts() })],
  ['story model, fp32', () => ({ model: storyModel('fp32'), prompts: storyPrompts() })],
  ...(conformanceFolder
    ? ([
        ['stories260k, q4', () => stories260k('q4')],
        ['stories260k, fp32', () => stories260k('fp32')],
      ] as const)
    : []),
] as const;
if (!conformanceFolder) console.log('texts: stories260k SKIPPED, ../shared/conformance is absent');

describe.each(subjects)('%s: 200 tokens', (name, open) => {
  let texts: Texts;
  let plain: Step[][];

  beforeAll(async () => {
    texts = open();
    const s = await session(texts.model, 'wasm');
    plain = [];
    for (const prompt of texts.prompts) plain.push(await write(s, prompt, TOKENS));
    await s.release();
  }, 120_000);

  /** MSD's words along the plain texts: where it would say something else, it is told what comes. */
  async function along(kvCache: 'int16' | 'int8'): Promise<Step[][]> {
    const s = await session(texts.model, { name: 'msd', claim: 'all', kvCache });
    const attentions = reportOf(s)!.nodes.filter(({ opType }) => opType === 'GroupQueryAttention');
    expect(attentions.map(({ where }) => where)).toEqual(attentions.map(() => 'msd'));
    const own: Step[][] = [];
    for (const [i, prompt] of texts.prompts.entries())
      own.push(await write(s, prompt, TOKENS, (_, index) => plain[i]![index]!.token));
    await s.release();
    return own;
  }

  it('int16: the same', { timeout: 120_000 }, async () => {
    const own = await along('int16');
    const others: string[] = [];
    let close = 0;
    for (const [i, steps] of plain.entries())
      for (const [index, { token, logits }] of steps.entries()) {
        const got = argMax(own[i]![index]!.logits);
        if (got === token) continue;
        if (marginOf(logits) <= MARGIN) close++;
        else others.push(`prompt ${i}, token ${index}: expected ${token} by ${marginOf(logits)}, got ${got}`);
      }
    if (close > 0) console.log(`${name}, int16: ${close} tokens within ${MARGIN} of another one differ`);
    expect(others).toEqual([]);
  });

  it('int8: KL at most 2e-3, the best token the same in 98 of 100', { timeout: 120_000 }, async () => {
    const own = (await along('int8')).flat();
    const expected = plain.flat();
    const same = expected.filter(({ token }, i) => argMax(own[i]!.logits) === token).length / expected.length;
    const kl = expected.reduce((sum, { logits }, i) => sum + divergence(logits, own[i]!.logits), 0) / expected.length;
    console.log(`${name}, int8: KL ${kl.toExponential(2)}, top-1 ${(100 * same).toFixed(2)} % of ${expected.length}`);
    expect(kl).toBeLessThanOrEqual(2e-3);
    expect(same).toBeGreaterThanOrEqual(0.98);
  });
});
