/** A thread that runs cases, one after the other, as they come. */
import { parentPort } from 'node:worker_threads';
import { type Case, runCase } from './cases.ts';

parentPort!.on('message', (of: Case) => parentPort!.postMessage({ of, readings: runCase(of) }));
