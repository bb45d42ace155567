/**
 * A model that is not cut: ONNX Runtime runs it unchanged, and the report says why.
 */
import { countOf } from '../dims.ts';
import { AbortError, SessionStateError } from '../errors.ts';
import { log } from '../log.ts';
import {
  createOrtTensor,
  type OrtFeeds,
  type OrtMetadata,
  type OrtModule,
  type OrtRunOptions,
  type OrtSession,
  type OrtTensor,
  ortVersion,
  usesProxy,
} from '../ort.ts';
import { NO_MEMORY, type NodeReport, type SessionReport } from '../report.ts';
import { turnsOf } from '../turns.ts';
import type { Watch } from './abort.ts';
import { checkExtraFeeds, checkFeed, feedOf, fillTarget, type InputSpec, specOfMetadata } from './bind.ts';
import { foreignError } from './foreign.ts';
import { keptOf } from './kv/lazy.ts';
import { createAtSomeLevel } from './level.ts';
import { createOrtSession } from './ort-session.ts';
import { type MsdRunOptions, parseRunOptions } from './run-options.ts';
import type { MsdHandler } from './session.ts';
import { copyOfTensor } from './snapshot.ts';

/** What to do about it. */
const ADVICE = "Use an export in q4, q8 or int8, or pass quantize: 'int8'; or leave 'msd' out of executionProviders.";

/** Creates a session over the original bytes or path. */
export async function createWhole(
  ort: OrtModule,
  model: string | Uint8Array,
  options: object,
  reason: string,
  nodes: readonly NodeReport[],
  watch: Watch,
): Promise<MsdHandler> {
  let session: OrtSession;
  let level: string | undefined;
  try {
    ({ session, level } = await createAtSomeLevel(ort, options, (given) => createOrtSession(ort, model, given)));
  } catch (error) {
    throw foreignError('whole model', error);
  }
  try {
    watch.check();
  } catch (error) {
    await session.release();
    throw error;
  }
  log(ort, 'warning', `nothing of this model runs in MSD, ONNX Runtime runs all of it: ${reason}. ${ADVICE}`);
  return new WholeSession(ort, session, reason, nodes, level);
}

class WholeSession implements MsdHandler {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly OrtMetadata[];
  readonly outputMetadata: readonly OrtMetadata[];
  readonly report: SessionReport;
  readonly #ort: OrtModule;
  readonly #running = new Set<Promise<unknown>>();
  readonly #known: ReadonlySet<string>;
  readonly #specs: readonly InputSpec[];
  /** What runs returned, and callers may feed back. */
  readonly #returned = new WeakSet<OrtTensor>();
  #session: OrtSession | undefined;

  constructor(
    ort: OrtModule,
    session: OrtSession,
    reason: string,
    nodes: readonly NodeReport[],
    level: string | undefined,
  ) {
    this.#ort = ort;
    this.#session = session;
    this.#known = new Set(session.inputNames);
    this.#specs = session.inputMetadata.map(specOfMetadata).filter((spec) => spec !== undefined);
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
      ...(level !== undefined && { graphOptimizationLevel: level }),
    };
  }

  async run(
    feeds: OrtFeeds,
    fetches: Readonly<Record<string, OrtTensor | null>>,
    options: OrtRunOptions,
  ): Promise<Record<string, OrtTensor>> {
    const session = this.#session;
    if (!session) throw new SessionStateError('run: session, expected a live one, got one after release().');
    const { ort, watch } = parseRunOptions(options as MsdRunOptions);
    const given = this.#snapshot(feeds);
    const names = Object.keys(fetches);
    const running = session.run(
      () => {
        watch?.check();
        return given;
      },
      names,
      ort,
    );
    const known = running.catch(() => undefined);
    this.#running.add(known);
    void known.then(() => this.#running.delete(known));
    let results: OrtFeeds;
    try {
      results = await (watch ? watch.orAborted(running) : running);
    } catch (error) {
      throw error instanceof AbortError ? error : foreignError('whole model', error);
    }
    const out: Record<string, OrtTensor> = Object.create(null); // any name, also __proto__
    for (const name of names) {
      const [target, result] = [fetches[name], results[name]!];
      if (!target) this.#returned.add(result);
      out[name] = target ? fillTarget(name, target, result) : result;
    }
    return out;
  }

  /**
   * The inputs as they are now. ONNX Runtime copies the first one before `run` returns, the others after other code had its turn: a
   * run that begins at once has its largest input first, which is spared a copy. So are the elements of what an earlier run
   * returned: a decoder's cache is large, fed back at each token, and nobody overwrites it meanwhile.
   */
  #snapshot(feeds: OrtFeeds): OrtFeeds {
    const checked = new Map<string, OrtTensor>();
    for (const spec of this.#specs) {
      const feed = feedOf(feeds, spec.name);
      checked.set(spec.name, isElsewhere(feed) ? feed : checkFeed(spec, feed));
    }
    checkExtraFeeds(this.#known, feeds);
    const entries = this.inputNames.map((name) => [name, checked.get(name) ?? feeds[name]!] as const);
    entries.sort(([, a], [, b]) => countOf(b.dims) - countOf(a.dims));
    const isAtOnce = turnsOf(this.#ort.registerBackend).isFree && !usesProxy(this.#ort);
    const given: Record<string, OrtTensor> = Object.create(null);
    for (const [i, [name, tensor]] of entries.entries())
      given[name] =
        !isAtOnce || keptOf(tensor) ? copyOfTensor(this.#ort, tensor) : i === 0 ? tensor : this.#later(tensor);
    return given;
  }

  /** An input that ONNX Runtime reads when its caller may have disposed of it. */
  #later(tensor: OrtTensor): OrtTensor {
    if (!this.#returned.has(tensor) || tensor.location !== 'cpu') return copyOfTensor(this.#ort, tensor);
    return createOrtTensor(this.#ort, tensor.type, tensor.data, [...tensor.dims]);
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

/** A tensor that lies on a GPU, where ONNX Runtime looks after it. */
function isElsewhere(feed: unknown): feed is OrtTensor {
  const location = (feed as Partial<OrtTensor> | null | undefined)?.location;
  return location === 'gpu-buffer' || location === 'ml-tensor';
}
