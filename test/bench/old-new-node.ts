/** One process of the comparison of two builds: node old-new-node.js REQUEST.json RESULT.json, in any Node that has WebAssembly SIMD. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { SampleClock } from './measure.ts';
import { measureOldNew, type OldNewResult } from './old-new.ts';

/** What a process is told. */
export interface OldNewRequest {
  readonly old: string;
  readonly rounds: number;
  readonly cases: readonly string[];
  readonly clock: SampleClock;
}

/** What a process leaves. */
export interface OldNewReply extends OldNewResult {
  readonly node: string;
  readonly v8: string;
}

const [requestFile, resultFile] = process.argv.slice(2);
if (!requestFile || !resultFile) throw new Error('old-new-node: REQUEST.json and RESULT.json expected.');
const request = JSON.parse(readFileSync(requestFile, 'utf8')) as OldNewRequest;
const found = await measureOldNew({ ...request, log: (message) => console.log(`  ${message}`) });
const { node, v8 } = process.versions;
const reply: OldNewReply = { node, v8, ...found };
writeFileSync(resultFile, JSON.stringify(reply));
