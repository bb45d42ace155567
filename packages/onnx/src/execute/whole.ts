/**
 * A model that is not cut: ONNX Runtime runs it as it came, the report says why.
 */
import { SessionStateError } from '../errors.ts';
import {
  createOrtSession,
  type OrtMetadata,
  type OrtModule,
  type OrtRunOptions,
  type OrtSession,
  type OrtTensor,
  ortVersion,
} from '../ort.ts';
import { NO_MEMORY, type NodeReport, type SessionReport } from '../report.ts';
import { fillTarget } from './bind.ts';
import { foreignError } from './foreign.ts';
import type { MsdHandler } from './session.ts';

/** Creates a session over the original bytes or path. */
export async function createWhole(
  ort: OrtModule,
  model: string | Uint8Array,
  options: object,
  reason: string,
  nodes: readonly NodeReport[],
): Promise<MsdHandler> {
  try {
    return new WholeSession(ort, await createOrtSession(ort, model, options), reason, nodes);
  } catch (error) {
    throw foreignError('whole model', error);
  }
}

class WholeSession implements MsdHandler {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly OrtMetadata[];
  readonly outputMetadata: readonly OrtMetadata[];
  readonly report: SessionReport;
  readonly #running = new Set<Promise<unknown>>();
  #session: OrtSession | undefined;

  constructor(ort: OrtModule, session: OrtSession, reason: string, nodes: readonly NodeReport[]) {
    this.#session = session;
    this.inputNames = session.inputNames;
    this.outputNames = session.outputNames;
    this.inputMetadata = session.inputMetadata;
    this.outputMetadata = session.outputMetadata;
    const version = ortVersion(ort);
    this.report = {
      nodes: nodes.map((node) => ({ ...node, where: 'ort', region: 0 })),
      regions: [{ where: 'ort', nodes: nodes.length, session: 0, inputs: this.inputNames, outputs: this.outputNames }],
      foreignRunsPerCall: 1,
      foreignSessions: 1,
      bytesCopiedPerCall: { intoOrt: 0, outOfOrt: 0, intoMsd: 0, outOfMsd: 0 },
      weights: { fileBytes: 0, packedBytes: 0 },
      memory: NO_MEMORY,
      whole: reason,
      ...(version !== undefined && { ortVersion: version }),
    };
  }

  async run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: Readonly<Record<string, OrtTensor | null>>,
    options: OrtRunOptions,
  ): Promise<Record<string, OrtTensor>> {
    if (!this.#session) throw new SessionStateError('run: session, expected a live one, got one after release().');
    const names = Object.keys(fetches);
    const running = this.#session.run(feeds, names, options);
    this.#running.add(running);
    let results: Readonly<Record<string, OrtTensor>>;
    try {
      results = await running;
    } catch (error) {
      throw foreignError('whole model', error);
    } finally {
      this.#running.delete(running);
    }
    const out: Record<string, OrtTensor> = {};
    for (const name of names) {
      const target = fetches[name];
      out[name] = target ? fillTarget(name, target, results[name]!) : results[name]!;
    }
    return out;
  }

  async dispose(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await Promise.allSettled(this.#running);
    await session?.release();
  }

  startProfiling(): void {
    this.#session?.startProfiling();
  }

  endProfiling(): void {
    this.#session?.endProfiling();
  }
}
