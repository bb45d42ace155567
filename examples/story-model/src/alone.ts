/**
 * One engine alone in a fresh process: how long it loads and how much memory it takes. Started by
 * compare.ts; prints one line of JSON.
 */
import { reportOf } from '@msd/onnx/register';
import { type Engine, loadDecoder } from './engines.ts';
import { greedyRun } from './greedy-run.ts';
import { openModelFolder } from './model-folder.ts';
import { wasmMemoryBytes } from './wasm-memory.ts';

export interface AloneRequest {
  readonly engine: Engine;
  readonly folder: string;
  readonly dtype: string | undefined;
  readonly prompt: readonly number[];
  readonly tokens: number;
}

export interface AloneResult {
  /** From the ONNX file to a session that can run, ONNX Runtime's own start included where it is needed. */
  readonly loadMs: number;
  /** The first prompt of the session. */
  readonly firstTokenMs: number;
  /** All WebAssembly memory after the text was written. */
  readonly wasmBytes: number;
  /** MSD's part of it. */
  readonly arenaBytes: number;
}

const { engine, folder, dtype, prompt, tokens } = JSON.parse(process.argv[2] as string) as AloneRequest;
const model = openModelFolder(folder, dtype);
const start = performance.now();
const decoder = await loadDecoder(engine, model);
const loadMs = performance.now() - start;
const { firstTokenMs } = await greedyRun(decoder, prompt, tokens);
const arenaBytes = reportOf(decoder.session)?.memory.wasmBytes ?? 0;
console.log(JSON.stringify({ loadMs, firstTokenMs, wasmBytes: wasmMemoryBytes(), arenaBytes } satisfies AloneResult));
