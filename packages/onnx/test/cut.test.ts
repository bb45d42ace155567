/**
 * Real models cut at random: every node gets a side by chance, both sides run in ONNX Runtime, and the results have to be
 * those of the whole model. Shows that regions are written, typed, shared and wired correctly, whatever the operators.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ForeignRunError } from '../src/errors.ts';
import { createForeign } from '../src/execute/foreign.ts';
import { Executor } from '../src/execute/run.ts';
import { makeSchedule, Slots } from '../src/execute/schedule.ts';
import { valueOfTensor } from '../src/execute/value.ts';
import { buildGraph } from '../src/ir/graph.ts';
import { inferTypes } from '../src/ir/infer.ts';
import type { OrtTensor } from '../src/ort.ts';
import { partition } from '../src/plan/partition.ts';
import { neededNodes, unitsOf } from '../src/plan/units.ts';
import { CutRefused, refusalOf } from '../src/plan/whole.ts';
import { readModel } from '../src/read/model.ts';
import { bytesSource } from '../src/read/source.ts';
import { conformanceFolder, firstDifference, modelFolders, readTensorFiles } from './conformance.ts';
import { random } from './models.ts';
import { ort } from './ort.ts';

// Without optimisation: some fusions change results for the random inputs of this folder, and a cut keeps them from happening.
const options = {
  executionProviders: ['wasm'],
  logSeverityLevel: 4 as const,
  graphOptimizationLevel: 'disabled' as const,
};

/** Runs a model in pieces; the reason why not, if it cannot be cut. */
async function runCut(folder: string, seed: number): Promise<{ whole?: string; regions: number; sessions: number }> {
  const record = readModel(bytesSource(readFileSync(join(folder, 'model.onnx'))));
  const graph = buildGraph(record);
  const next = random(seed);
  const sides = new Map(graph.nodes.map((node) => [node, next() < 0.3]));
  const whole = refusalOf({ graph, infos: new Map() }, neededNodes(graph));
  if (whole !== undefined) return { whole, regions: 0, sessions: 0 };
  const units = unitsOf(graph, new Map());
  const regions = partition(graph, units, ({ nodes: [node] }) => sides.get(node!)!).map((region) => ({
    ...region,
    claimed: false,
  }));
  let plan: Awaited<ReturnType<typeof createForeign>>;
  try {
    plan = await createForeign(ort, graph, regions, options, inferTypes(graph).infos);
  } catch (error) {
    if (!(error instanceof CutRefused)) throw error;
    return { whole: error.message, regions: 0, sessions: 0 };
  }
  // In one piece ONNX Runtime computes float16 in float32 and rounds where it likes; at a cut it has to.
  if (plan.sessions.some((session) => session.outputMetadata.some(({ type }) => type === 'float16'))) {
    for (const session of plan.sessions) await session.release();
    return { whole: 'float16', regions: 0, sessions: 0 };
  }
  const slots = new Slots();
  const schedule = makeSchedule(plan.regions, slots, new Set(graph.outputs.map((output) => output.name)), undefined);
  for (const { name } of graph.inputs) slots.of(name);
  const plain = await ort.InferenceSession.create(readFileSync(join(folder, 'model.onnx')), options);
  const executor = new Executor(ort, undefined, slots.size);
  for (const set of readdirSync(folder).filter((entry) => entry.startsWith('test_data_set_'))) {
    executor.begin();
    const feeds: Record<string, ort.Tensor> = {};
    readTensorFiles(join(folder, set), 'input').forEach(({ tensor }, index) => {
      feeds[graph.inputs[index]!.name] = tensor;
    });
    const expected = await plain.run(feeds).catch(() => undefined); // some data sets run only when optimised
    for (const [name, tensor] of Object.entries(feeds))
      executor.feed(slots.of(name), valueOfTensor(tensor as unknown as OrtTensor));
    if (!expected) {
      await expect(executor.run(schedule, {})).rejects.toBeInstanceOf(ForeignRunError);
      continue;
    }
    await executor.run(schedule, {});
    for (const name of plain.outputNames) {
      const got = executor.take(name, slots.of(name), undefined) as unknown as ort.Tensor;
      expect(firstDifference(got, expected[name]!), `${folder} ${set} ${name}, seed ${seed}`).toBeUndefined();
    }
  }
  await plain.release();
  for (const session of plan.sessions) await session.release();
  return { regions: regions.length, sessions: plan.sessions.length };
}

describe.skipIf(!conformanceFolder)('real models cut at random (skipped where ../shared/conformance is absent)', () => {
  const runs = process.env.MSD_TEST_ALL === '1' ? 5 : 1;
  it('give what they give in one piece', { timeout: 600_000 }, async () => {
    let cut = 0;
    let regions = 0;
    for (const group of ['models', 'onnx-node']) {
      for (const name of modelFolders(group)) {
        for (let seed = 1; seed <= runs; seed++) {
          const result = await runCut(join(conformanceFolder!, group, name), seed);
          if (result.whole === undefined) cut++;
          regions += result.regions;
        }
      }
    }
    expect(cut).toBeGreaterThan(200 * runs);
    expect(regions).toBeGreaterThan(1000 * runs);
  });
});
