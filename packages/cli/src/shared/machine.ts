/** This machine: what it is called, and its peaks, measured once. */
import { availableParallelism, cpus } from 'node:os';
import { type MachinePeaks, measurePeaks } from '@msd/core/peaks';
import { readCache, writeCache } from './cache.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly node: string;
}

export function thisMachine(): Machine {
  const cpu = cpus()[0]?.model.trim() || `unknown CPU (${process.arch})`;
  return { cpu, cores: availableParallelism(), node: process.versions.node };
}

/** "Node 24.1, AMD Ryzen 7 (8 cores)" */
export function machineText({ cpu, cores, node }: Machine): string {
  return `${cpu}, ${cores} ${cores === 1 ? 'core' : 'cores'}, Node ${node}`;
}

/** Sizes that bandwidth is measured for: what a model reads in every run may fit into a cache. */
const LEAST_READ = 2 ** 20;
const MOST_READ = 96 * 2 ** 20;

/**
 * Peaks of one thread: kept from the first time that somebody asked on this machine.
 *
 * @param readBytes that are read in every run, rounded up to a power of two
 * @param fresh measure them anew
 */
export function machinePeaks(readBytes: number, fresh = false): MachinePeaks {
  const size = Math.min(MOST_READ, 2 ** Math.ceil(Math.log2(Math.max(LEAST_READ, Math.min(MOST_READ, readBytes)))));
  const key = JSON.stringify({ ...thisMachine(), size });
  const known = fresh ? undefined : readCache<MachinePeaks>('peaks', key);
  if (known) return known;
  const peaks = measurePeaks(80, size);
  writeCache('peaks', key, peaks);
  return peaks;
}
