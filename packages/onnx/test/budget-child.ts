/**
 * A process of its own: reads a file of `count` copies of a few bytes and prints how many MB its memory grew by, at most, and what came of
 * it. Arguments: kind, megabytes.
 */
import { OnnxFormatError } from '../src/errors.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { BUDGET_KINDS } from './budget-kinds.ts';

const [kind, megabytes] = process.argv.slice(2) as [string, string];
const size = Number(megabytes) * 1e6;

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) + 128);
  }
}

/** `payload` repeated, wrapped into the fields of `path`. */
function wrapped(path: readonly number[], payload: readonly number[]): Uint8Array {
  const count = Math.floor(size / payload.length);
  let length = count * payload.length;
  const heads: number[][] = [];
  for (const field of path.toReversed()) {
    const head = [field * 8 + 2, ...varint(length)];
    heads.unshift(head);
    length += head.length;
  }
  const out = new Uint8Array(length);
  const head = heads.flat();
  out.set(head);
  // Doubling: a copy per element would take longer than the test.
  out.set(payload, head.length);
  for (let done = payload.length; done < length - head.length; done *= 2)
    out.copyWithin(head.length + done, head.length, head.length + Math.min(done, length - head.length - done));
  return out;
}

const { path, payload } = BUDGET_KINDS[kind]!;
const bytes = wrapped(path, payload);
global.gc?.();
const before = process.memoryUsage.rss();
let outcome = 'read';
try {
  buildGraph(readModel(bytesSource(bytes)));
} catch (error) {
  if (!(error instanceof OnnxFormatError)) throw error;
  outcome = error.message;
}
// The largest that it ever was, in kB.
const most = process.resourceUsage().maxRSS * 1024;
console.log(JSON.stringify({ grown: Math.round((most - before) / 1e6), outcome }));
