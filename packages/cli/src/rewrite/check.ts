/** Does a rewritten model compute what the model did? Both run in both engines, and natively where that is at hand. */
import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { noiseOf } from '../feeds/compare.ts';
import { type Engine, sessionOfFile } from '../feeds/engines.ts';
import { type Given, givenFeeds } from '../feeds/given.ts';
import { runNative } from '../feeds/native.ts';
import { messageOf, UserError } from '../shared/errors.ts';

export interface Check {
  /** Where the new model ran. */
  readonly engine: 'onnxruntime-web' | 'MSD' | 'onnxruntime-node';
  /** Signal to noise against the old model in MSD with two components, dB; `null` where both are the same bits. */
  readonly sqnr: number | null;
  /** Why it did not run. */
  readonly error?: string;
}

/** @param root the folder with tokenizer.json */
export async function checkRewritten(before: string, after: string, given: Given, root: string): Promise<Check[]> {
  const reference = await sessionOfFile(before, 'msd-2', externalOf(before));
  const { feeds } = await givenFeeds(reference, given, root);
  const expected = await reference.run(feeds).catch((error: unknown) => {
    const why = messageOf(error);
    throw new UserError(
      `${after} is written, but not checked: ${before} does not run on such inputs (${why}). Give others: --inputs, --prompt.`,
    );
  });
  const checks: Check[] = [];
  const engines: readonly (readonly [Check['engine'], Engine])[] = [
    ['onnxruntime-web', 'ort'],
    ['MSD', 'msd-2'],
  ];
  for (const [engine, id] of engines) {
    try {
      const session = await sessionOfFile(after, id, externalOf(after));
      checks.push({ engine, sqnr: finite(await noiseOf(expected, await session.run(feeds))) });
      await session.release();
    } catch (error) {
      checks.push({ engine, sqnr: null, error: messageOf(error) });
    }
  }
  const native = await runNative(after, feeds);
  if (typeof native === 'string') checks.push({ engine: 'onnxruntime-node', sqnr: null, error: native });
  else if (native) checks.push({ engine: 'onnxruntime-node', sqnr: finite(await noiseOf(expected, native)) });
  await reference.release();
  return checks;
}

const finite = (dB: number): number | null => (Number.isFinite(dB) ? dB : null);

/** External data beside a file: whatever begins with its name. */
export function externalOf(path: string): { path: string; data: string }[] {
  return readdirSync(dirname(path))
    .filter((name) => name.startsWith(`${basename(path)}_data`) || name === `${basename(path)}.data`)
    .map((name) => ({ path: name, data: join(dirname(path), name) }));
}
