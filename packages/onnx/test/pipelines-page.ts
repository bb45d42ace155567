/** What the page of pipelines.page.test.ts runs: every case with stock sessions and with MSD's, in one page or worker. */
import * as hf from '@huggingface/transformers';
import { InferenceSession as Session } from 'onnxruntime-web/webgpu';
import type { SessionReport } from '../src/register.ts';
import { CASES, type Ran, runCase } from './pipeline-cases.ts';

/** Of one case. */
export interface PageResult {
  readonly plain: Ran;
  readonly msd: Ran;
  /** Sessions of MSD's, and whether one of them has something to do. */
  readonly sessions: readonly string[];
  readonly isAllTaken: boolean;
}

const InferenceSession = Session as unknown as { create: unknown };
const stock = InferenceSession.create;
const { reportOf } = await import('../src/transformers.ts');
const takenOver = InferenceSession.create;

const ort = '/ort/ort-wasm-simd-threaded.asyncify';
Object.assign(hf.env, {
  allowRemoteModels: false,
  allowLocalModels: true,
  localModelPath: '/models/',
  useBrowserCache: false,
});
Object.assign((hf.env as unknown as { backends: { onnx: { wasm: object } } }).backends.onnx.wasm, {
  wasmPaths: { mjs: `${ort}.mjs`, wasm: `${ort}.wasm` },
});

async function run(name: string): Promise<PageResult> {
  const { task, model, use } = CASES.find((each) => each.name === name)!;
  const load = { device: 'wasm', dtype: 'q4' };
  const ran: Ran[] = [];
  let reports: Record<string, SessionReport> = {};
  for (const create of [stock, takenOver]) {
    InferenceSession.create = create;
    const pipe = await hf.pipeline(task, model, load);
    ran.push(await runCase(hf, pipe, use, load));
    reports = reportOf(pipe);
    if (create === stock && Object.keys(reports).length > 0) throw new Error('stock sessions are not stock');
  }
  const isAllTaken = Object.values(reports).every(({ nodes }) => nodes.some(({ where }) => where === 'msd'));
  return { plain: plainData(ran[0]!), msd: plainData(ran[1]!), sessions: Object.keys(reports).sort(), isAllTaken };
}

/** What JSON can say: typed arrays are lists. */
const plainData = ({ answer, steps }: Ran): Ran => ({
  answer,
  steps: steps.map(({ rows }) => ({ rows: rows.map((row) => Array.from(row)) })),
});

/** What Transformers.js does first. */
const fetchModel = async (): Promise<number> => (await hf.env.fetch!('/models/story/onnx/model_q4.onnx')).status;

Object.assign(globalThis, { runCase: run, fetchModel });
document.title = 'ready';
