/** Starts the processes of the comparison of two builds, in every Node that was asked for, and brings together what they found. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildForNode } from '../engines/build.ts';
import { NODE_20, NODE_22, NODE_24, nodeCommand } from '../engines/nodes.ts';
import { medianCost } from './call-cost.ts';
import type { OldNewCase } from './old-new.ts';
import type { OldNewReply, OldNewRequest } from './old-new-node.ts';
import { summarize } from './samples.ts';

export const NODES = { node20: NODE_20, node22: NODE_22, node24: NODE_24 } as const;
export type NodeName = keyof typeof NODES;

/** A case of all processes of one Node. */
export interface JoinedCase extends OldNewCase {
  /** Of each process; `ratio` and `bestRatio` are their medians. */
  readonly ratios: readonly number[];
}

export interface NodeResult extends Pick<OldNewReply, 'node' | 'v8' | 'calls'> {
  readonly cases: readonly JoinedCase[];
}

/** Processes of different Nodes take turns. */
export async function measureInNodes(
  names: readonly NodeName[],
  processes: number,
  request: OldNewRequest,
  log: (message: string) => void,
): Promise<NodeResult[]> {
  const bundle = await buildForNode(fileURLToPath(new URL('./old-new-node.ts', import.meta.url)), 'old-new');
  const replies = new Map(names.map((name): [NodeName, OldNewReply[]] => [name, []]));
  for (let i = 0; i < processes; i++)
    for (const [name, of] of replies) {
      log(`${name}, process ${i + 1} of ${processes}`);
      of.push(await oneProcess(name, bundle, request));
    }
  return [...replies.values()].map(joined);
}

async function oneProcess(name: NodeName, bundle: string, request: OldNewRequest): Promise<OldNewReply> {
  const command = await nodeCommand(NODES[name]);
  if ('unavailable' in command) throw new Error(`bench: ${command.unavailable}`);
  const folder = mkdtempSync(join(tmpdir(), 'msd-old-new-'));
  try {
    const [requestFile, resultFile] = [join(folder, 'request.json'), join(folder, 'result.json')];
    writeFileSync(requestFile, JSON.stringify(request));
    const child = spawn(command.file, [...command.args, bundle, requestFile, resultFile], { stdio: 'inherit' });
    const code = await new Promise((resolve) => child.on('close', resolve));
    if (code !== 0) throw new Error(`bench: the process of ${name} ended with ${code}.`);
    return JSON.parse(readFileSync(resultFile, 'utf8')) as OldNewReply;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** @param replies at least one */
export function joined(replies: readonly OldNewReply[]): NodeResult {
  const [first] = replies as [OldNewReply];
  const cases = first.cases.map((one, i): JoinedCase => {
    const all = replies.map(({ cases }) => cases[i]!);
    const median = (of: (one: OldNewCase) => number) => summarize(all.map(of)).median;
    return {
      ...one,
      old: { ...one.old, median: median(({ old }) => old.median) },
      new: { ...one.new, median: median((other) => other.new.median) },
      ratio: median(({ ratio }) => ratio),
      bestRatio: median(({ bestRatio }) => bestRatio),
      ratios: all.map(({ ratio }) => ratio),
      sameBits: all.every(({ sameBits }) => sameBits),
    };
  });
  const calls = first.calls.map((_, i) => medianCost(replies.map(({ calls }) => calls[i]!)));
  const { node, v8 } = first;
  return { node, v8, cases, calls };
}
