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

/** Peaks of one thread: kept from the first time that somebody asked on this machine. @param fresh measure them anew */
export function machinePeaks(fresh = false): MachinePeaks {
  const key = JSON.stringify(thisMachine());
  const known = fresh ? undefined : readCache<MachinePeaks>('peaks', key);
  if (known) return known;
  const peaks = measurePeaks();
  writeCache('peaks', key, peaks);
  return peaks;
}
