import type { WasmBackend } from '@msd/core';

export type Call = ReturnType<WasmBackend['bind']>;

/** Calls that are kept: batches of a few sizes, long strips and the rest. */
const MOST_CALLS = 16;

/** Adds a call; the oldest one goes if there are too many. */
export function keep(calls: Map<string, Call>, key: string, call: Call, most = MOST_CALLS): void {
  calls.set(key, call);
  if (calls.size > most) calls.delete(calls.keys().next().value!);
}
