/** The part of a report that changes while a session lives: memory, plans, and the kernels of its last run. */
import type { MemoryReport } from '@msd/core';
import type { NodeReport, SessionReport } from '../report.ts';
import { type CutModel, type Live, shopOf } from './cut-model.ts';
import { bodiesOn, schedulesOf, type Way } from './ways.ts';

/** The values that change from run to run. */
export function liveReport(
  live: Live,
  given: readonly NodeReport[],
): Pick<SessionReport, 'nodes' | 'memory'> & Partial<SessionReport> {
  const kernels = kernelsOf(live);
  const nodes = given.map((node) => {
    const kernel = kernels.get(node.name);
    return kernel === undefined ? node : { ...node, kernel };
  });
  const { threads } = shopOf(live.model).residents.backend;
  return { nodes, memory: memoryOf(live), plans: plansOf(live), ...kvCacheOf(live), threads };
}

export function weightsOf(model: CutModel): SessionReport['weights'] {
  const { backend, fileBytes } = shopOf(model).residents;
  return { fileBytes, packedBytes: backend.memory().packedBytes };
}

/** The backend's memory; values between nodes count as scratch, too. */
function memoryOf({ model, ways }: Live): MemoryReport {
  const { residents, space, block } = shopOf(model);
  const { scratch, scratchBytes, ...rest } = residents.backend.memory();
  let intermediates = space.byteLength + block.byteLength;
  for (const { shop, heldBytes } of bodiesOn(ways)) intermediates += shop.space.byteLength + heldBytes;
  return { ...rest, scratch: { ...scratch, intermediates }, scratchBytes: scratchBytes + intermediates };
}

function plansOf({ ways }: Live): number {
  let plans = 0;
  for (const way of allOf(ways))
    for (const { steps } of schedulesOf(way))
      for (const step of steps) if (step.kind === 'claimed') plans += step.region.planCount;
  return plans;
}

/** Those of bodies, too. */
const allOf = (ways: readonly Way[]): Way[] => [...ways, ...[...bodiesOn(ways)].flatMap((body) => body.ways)];

function kvCacheOf({ model, ways }: Live): Pick<SessionReport, 'kvCache'> {
  const { kv } = shopOf(model);
  const matches = allOf(ways).flatMap(({ variant: { plan } }) =>
    plan.flatMap((region) => ('matches' in region ? region.matches : [])),
  );
  if (!matches.some(({ op }) => op === 'attention')) return {};
  let { byteLength } = kv.keeper;
  for (const { shop } of bodiesOn(ways)) byteLength += shop.kv.keeper.byteLength;
  return { kvCache: { type: kv.type === 'float' ? 'model' : kv.type, byteLength } };
}

/** Kernel ids by node, of the last run. */
function kernelsOf({ executor }: Live): Map<string, string> {
  const kernels = new Map<string, string>();
  for (const { program, nodes } of executor.plans)
    for (const [step, ids] of program.kernels.entries()) {
      const parts = nodes[step]!;
      // Products of one x are one call; each node gets its own gemm, or the joint one.
      const gemms = ids.filter((id) => id.startsWith('gemm'));
      const all = (gemms.length > 0 ? gemms : ids).join(' ');
      // Of the steps of a convolution, its product counts, not the copies around it.
      for (const [i, names] of parts.entries())
        for (const name of names)
          if (ids.length > 0 && !(kernels.has(name) && all.startsWith('copy_')))
            kernels.set(name, gemms.length === parts.length ? gemms[i]! : all);
    }
  return kernels;
}
