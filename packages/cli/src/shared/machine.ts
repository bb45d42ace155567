/** This machine: what it is called. */
import { availableParallelism, cpus } from 'node:os';

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
