/**
 * Files of nothing but small parts: what is read of them takes no more memory than their size justifies. Each in a process of its own,
 * whose largest memory is measured.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { buildGraph } from '../src/ir/graph.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { writeModel } from '../src/write/index.ts';
import { BUDGET_KINDS } from './budget-kinds.ts';

const MEGABYTES = 3;
/** What a process grows by while it reads anything: code, and what the collector leaves. */
const SLACK = 60;

interface Result {
  readonly grown: number;
  readonly outcome: string;
}

it.each(Object.entries(BUDGET_KINDS))('%s', (kind, { isList }) => {
  const script = fileURLToPath(new URL('./budget-child.ts', import.meta.url));
  const output = execFileSync(process.execPath, ['--expose-gc', script, kind, `${MEGABYTES}`], { encoding: 'utf8' });
  const { grown } = JSON.parse(output) as Result;
  // Records: 128 MB, and 12 bytes for each of the file; lists are not kept at all.
  expect(grown).toBeLessThan(SLACK + (isList ? 4 * MEGABYTES : 1.5 * (134 + 12 * MEGABYTES)));
});

it('a chain of 20,000 small nodes is read, in whatever order they stand', () => {
  const nodes = Array.from({ length: 20_000 }, (_, i) => ({
    opType: 'LeakyRelu',
    inputs: [`v${i}`],
    outputs: [`v${i + 1}`],
    attributes: { alpha: { float: 0.5 } },
  }));
  const values = { inputs: [{ name: 'v0', dtype: 'float32' as const }], outputs: [{ name: 'v20000' }] };
  for (const order of [nodes, nodes.toReversed()]) {
    const graph = buildGraph(readModel(bytesSource(writeModel({ graph: { nodes: order, ...values } }))));
    expect(graph.nodes.length).toBe(20_000);
  }
});
