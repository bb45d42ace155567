/**
 * From a model to a running session: read, check, claim, cut, load.
 */
import { askEngine } from '@msd/core/program';
import type { Branches, Variants } from '../inline/branches.ts';
import { LeftToOrt } from '../left.ts';
import { cpuProvider, type OrtModule } from '../ort.ts';
import { CutRefused } from '../plan/whole.ts';
import { arrived, Gone, whileArriving, wholeBytes } from '../read/arriving.ts';
import { isOrtFormat, readModel } from '../read/model.ts';
import { openExternal, openSource } from '../read/open.ts';
import type { ByteSource } from '../read/source.ts';
import { formatChooser } from '../weights/quantize-option.ts';
import type { Watch } from './abort.ts';
import { type Cutting, createCut, type Ways } from './create-cut.ts';
import { mergedNodes, wholeReports } from './describe.ts';
import { draftVariants, mayMultiply, wholeOf } from './drafts.ts';
import { neededLocations } from './files.ts';
import { checkCuttable, type MsdOptions, parseSessionOptions, type SessionRequest } from './options.ts';
import { withOverrides } from './overrides.ts';
import { endThreads, type StartedThreads, threadsFor } from './pack-threads-early.ts';
import { fetchMissing, loadParts } from './parts.ts';
import { isNoMemory, typedError } from './raw-errors.ts';
import type { MsdHandler } from './session.ts';
import { beginWarming, endWarming } from './warming.ts';

/**
 * Creates a session for a module of the ONNX Runtime family.
 *
 * @param model a path, a URL, or bytes (which must not change until the promise settles, and may be dropped then).
 * @param options of `InferenceSession.create`, `executionProviders` reduced to MSD's own entries.
 * @param defaults of `register`.
 */
export async function createSession(
  ort: OrtModule,
  model: string | Uint8Array,
  options: object,
  defaults: MsdOptions,
): Promise<MsdHandler> {
  const started = performance.now();
  const request = parseSessionOptions(options, { fallback: [cpuProvider(ort)], ...defaults });
  request.watch.check();
  if (typeof model === 'string' && request.msd.warm) warmUp(ort, defaults);
  const again: SessionRequest = { ...request, download: { ...request.download, isRead: false } };
  try {
    return await openAndCreate(ort, model, request, started).catch((error: unknown) => {
      if (!(error instanceof Gone)) throw error;
      // Rare: something is read a second time after it was freed. Then everything is fetched again, and kept.
      return openAndCreate(ort, model, again, started);
    });
  } catch (error) {
    throw typedError('create', error);
  }
}

/**
 * Warms MSD's code while the file of the page's first session arrives.
 *
 * @param defaults of `register`
 */
export function warmUp(ort: OrtModule, { onProgress: _, ...defaults }: MsdOptions): void {
  beginWarming((model, options) => createSession(ort, model, options, defaults));
}

async function openAndCreate(
  ort: OrtModule,
  model: string | Uint8Array,
  request: SessionRequest,
  started: number,
): Promise<MsdHandler> {
  const { watch, download } = request;
  const source = await stoppable(watch, openSource(model, download));
  let external: ReadonlyMap<string, ByteSource> | undefined;
  const kept = new Set<ByteSource>();
  let packThreads: StartedThreads | undefined;
  try {
    watch.check();
    const original = () => (typeof model === 'string' && wholeBytes(source)) || model;
    if (isOrtFormat(source)) {
      const reason = 'a file in ORT format';
      const whole = original();
      if (request.isTakenOver) throw leftToOrt(reason, model, whole);
      return await (await loadOrtSide()).createWhole(ort, whole, request.whole, reason, [], watch);
    }
    const record = withOverrides(readModel(source), request.overrides);
    external = record.files.sources;
    if (source.descriptor !== undefined) packThreads = threadsFor(record, request.msd);
    const loading = loadParts(record);
    if (request.msd.carrier !== 'i16') askEngine(); // while code arrives
    const { parts, branches } = await stoppable(watch, loading);
    const planned = branches.planned(mayMultiply);
    const files = openExternal(record.files, neededLocations(planned), model, request.externalData, download);
    await stoppable(watch, files);
    const opened = { ort, model, original, record, parts, branches, planned, request, kept, started, packThreads };
    return await stoppable(
      watch,
      whileArriving(() => createRead(opened)),
    );
  } finally {
    await endThreads(packThreads);
    for (const each of [source, ...(external?.values() ?? [])]) if (!kept.has(each)) each.close();
  }
}

/** A model that was read, and what creating its session needs. */
interface Opened extends Cutting {
  /** As the caller gave it. */
  readonly model: string | Uint8Array;
  /** As ONNX Runtime gets it: a fetched model as bytes, so that it is not fetched twice. */
  readonly original: () => string | Uint8Array;
  readonly branches: Pick<Branches, 'planned' | 'whole'>;
  readonly planned: Variants;
}

/** Creates a cut session if that pays, else one for the whole model. */
async function createRead(opened: Opened): Promise<MsdHandler> {
  let ways = await draftedWays(opened, false);
  let made: MsdHandler | string;
  try {
    made = await cutOrReason(opened, ways);
  } catch (error) {
    // Scales are read only when they are packed. If MSD does not take one, which is rare, everything is decided again.
    if (!(error instanceof RangeError) || isNoMemory(error)) throw error;
    ways = await draftedWays(opened, true);
    made = await cutOrReason(opened, ways);
  }
  // Their memory is for nothing then.
  if (typeof made === 'string') await endThreads(opened.packThreads);
  const session = typeof made === 'string' ? await createUncut(opened, ways, made) : made;
  opened.request.progress.report('ready', 0, 0);
  return session;
}

/**
 * Rare: the model needs code that the names of its operators did not tell. It is fetched, and everything is decided
 * again.
 */
async function draftedWays(opened: Opened, checksScales: boolean): Promise<Ways> {
  try {
    return waysOf(opened, checksScales);
  } catch (error) {
    await fetchMissing(error);
    return waysOf(opened, checksScales);
  }
}

function waysOf({ branches, planned, parts, request: { msd } }: Opened, checksScales: boolean): Ways {
  const { claim, exact, quantize, relax: relaxes } = msd;
  const drafting = { all: claim === 'all', exact, relaxes, chooseFormat: formatChooser(quantize), checksScales, parts };
  return draftVariants(branches, planned, drafting);
}

/** @returns the session, or why the model runs whole */
async function cutOrReason(opened: Opened, ways: Ways): Promise<MsdHandler | string> {
  const reason = wholeOf(ways.drafts);
  if (reason !== undefined) return reason;
  checkCuttable(opened.request, opened.record.graph.outputs);
  // One that is left to ONNX Runtime would not: a decoder may still be on its way.
  if (!opened.request.isWarming) endWarming();
  try {
    return await createCut(opened, ways);
  } catch (error) {
    if (error instanceof CutRefused) return error.message;
    throw error;
  }
}

async function createUncut(
  { ort, model, original, record, request }: Opened,
  { drafts }: Ways,
  reason: string,
): Promise<MsdHandler> {
  if (request.isTakenOver && (typeof model !== 'string' || original() === model)) throw new LeftToOrt(reason);
  const nodes = mergedNodes(drafts.map((draft) => wholeReports(draft, reason)));
  request.progress.report('start', 0, undefined);
  for (const each of record.files.sources.values()) await arrived(each);
  const { createWhole, wholeOptions } = await loadOrtSide();
  const options = await wholeOptions(model, record, request);
  const whole = original();
  if (request.isTakenOver) throw leftToOrt(reason, model, whole, options);
  return createWhole(ort, whole, options, reason, nodes, request.watch);
}

/** Passes on what was fetched. */
function leftToOrt(
  reason: string,
  model: string | Uint8Array,
  original: string | Uint8Array,
  { externalData }: { readonly externalData?: readonly object[] } = {},
): LeftToOrt {
  const fetched = typeof model === 'string' && typeof original !== 'string' ? original : undefined;
  return new LeftToOrt(reason, fetched, externalData);
}

/** The code for ONNX Runtime's part. */
const loadOrtSide = async () => (await import('./ort-side.ts')).ortSide;

/** Waits for work that a signal may stop: if it fails because of that, the error is an AbortError. */
async function stoppable<T>(watch: Watch, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    watch.check();
    throw error;
  }
}
