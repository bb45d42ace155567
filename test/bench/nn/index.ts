/** `npm run bench -- nn`: every op of nn at shapes of named models, beside onnxruntime-web and plain JavaScript. */
import { mkdirSync } from 'node:fs';
import { loadavg } from 'node:os';
import { createBackend } from '@msd/core';
import { nnKernels, nnOps } from '@msd/core/nn';
import * as ort from 'onnxruntime-web';
import { describeMachine } from '../environments.ts';
import { NN_ENTRIES } from './cases/index.ts';
import { familyCoverage, withoutCase } from './coverage.ts';
import { measureNn, type NnResult } from './measure.ts';
import { writeNn } from './report.ts';

export interface NnOptions {
  /** Words; a case whose op, name and M contain all of them is measured. Empty: all. */
  readonly cases: readonly string[];
  readonly rounds: number;
  readonly out: string;
  readonly log: (message: string) => void;
}

/** @returns the report, which also lies in `out` */
export async function measureNnOps({ cases, rounds, out, log }: NnOptions): Promise<string> {
  const [load] = loadavg();
  const date = new Date().toISOString();
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = 'error';
  const backend = await createBackend('wasm', { threads: 1 });
  const results: NnResult[] = [];
  for (const entry of NN_ENTRIES)
    for (const M of entry.rows) {
      const id = `${entry.spec.name} M=${M} ${entry.name}`;
      if (!cases.every((word) => id.includes(word))) continue;
      log(id);
      results.push(await measureNn(entry, M, { backend, ort, rounds }));
    }
  backend.dispose();
  mkdirSync(out, { recursive: true });
  return writeNn(out, {
    date,
    machine: describeMachine(),
    load: Number(load!.toFixed(2)),
    versions: { node: process.versions.node, v8: process.versions.v8, ort: ort.env.versions.web ?? 'unknown' },
    rounds,
    results,
    withoutCase: withoutCase(nnOps, NN_ENTRIES),
    families: familyCoverage(nnKernels, new Set(results.flatMap(({ kernels }) => kernels))),
  });
}
