/** `npm run bench -- attention`: attention and its stages beside the gemm tile, and beside onnxruntime-web's GroupQueryAttention. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import * as ort from 'onnxruntime-web';
import { describeMachine } from '../environments.ts';
import type { Clock } from '../measure.ts';
import type { Measured } from '../results.ts';
import { ATTENTION_CASES, caseName } from './case.ts';
import { type AttentionResult, measureAttention } from './measure.ts';

export interface AttentionOptions {
  /** Words; a case whose name contains all of them is measured. Empty: all. */
  readonly cases: readonly string[];
  readonly rounds: number;
  readonly clock: Clock;
  readonly out: string;
  readonly log: (message: string) => void;
}

/** @returns the report, which also lies in `out`, as Markdown and as JSON */
export async function measureAttentions({ cases, rounds, clock, out, log }: AttentionOptions): Promise<string> {
  const load = loadavg()[0]!.toFixed(2);
  const date = new Date().toISOString();
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'error';
  const results: AttentionResult[] = [];
  for (const test of ATTENTION_CASES) {
    const name = caseName(test);
    if (!cases.every((word) => `${name} `.includes(word))) continue;
    log(name);
    results.push(await measureAttention(test, { ort, rounds, clock }));
  }
  const machine = describeMachine();
  const versions = { node: process.versions.node, v8: process.versions.v8, ort: ort.env.versions.web ?? 'unknown' };
  const report = [
    '# Attention on a cache of keys and values',
    '',
    `\`npm run bench -- attention\`, ${machine.cpu}, ${machine.cores} cores, Node ${versions.node} (V8 ${versions.v8}), onnxruntime-web ` +
      `${versions.ort}, ${date.slice(0, 10)}, load ${load}, one thread, ${clock} time, ${rounds} rounds in turns in one process. How: docs/benchmarks.md.`,
    '',
    'Q·K, P·V: 10⁹ multiplications per second; ÷ gemm: of the rate of the int8 kernel with 16-bit integers (int16 takes two products each:',
    'of half of it). Softmax: ns per key and head. Queries: ns per query and head, to make their integers. Call: µs of a bound call that adds its own keys.',
    '',
    ...[HEAD, HEAD.map((_, i) => (i ? '---:' : '---')), ...results.map((result) => row(result, results))].map(
      (cells) => `| ${cells.join(' | ')} |`,
    ),
  ].join('\n');
  mkdirSync(out, { recursive: true });
  writeFileSync(
    join(out, 'attention.json'),
    `${JSON.stringify({ date, machine, load, versions, rounds, clock, results })}\n`,
  );
  writeFileSync(join(out, 'attention.md'), `${report}\n`);
  return report;
}

const HEAD = [
  '',
  'd',
  'M',
  'queries',
  'T',
  'Q·K',
  '÷ gemm',
  'P·V',
  '÷ gemm',
  'softmax',
  'queries',
  'call µs',
  'ORT µs',
  'ORT ÷ call',
];

function row(result: AttentionResult, all: readonly AttentionResult[]): string[] {
  const { type, headSize, heads, rows, keys, gmacs, softmax, queries, us } = result;
  const share = ({ median }: Measured) => (median * (type === 'int16' ? 2 : 1)) / gmacs.gemm.median;
  // The peer is measured beside the float cache of the same shape.
  const peer = all.find(
    (other) =>
      other.us.run &&
      other.headSize === headSize &&
      other.heads === heads &&
      other.rows === rows &&
      other.keys === keys,
  )?.us.run;
  return [
    type,
    ...[headSize, heads, rows, keys].map(String),
    gmacs.scores.median.toFixed(1),
    type === 'float' ? '' : share(gmacs.scores).toFixed(2),
    gmacs.values.median.toFixed(1),
    type === 'float' ? '' : share(gmacs.values).toFixed(2),
    softmax.median.toFixed(2),
    queries.median.toFixed(0),
    us.call.median.toPrecision(3),
    peer ? peer.median.toPrecision(3) : '',
    peer ? (peer.median / us.call.median).toFixed(1) : '',
  ];
}
