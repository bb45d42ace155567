/**
 * From a model to a running session: read, check, claim, cut, load.
 */
import { createKvCache } from '@msd/core';
import { AbortError } from '../errors.ts';
import { buildGraph, type Graph, type GraphNode } from '../ir/graph.ts';
import { type Infos, inferTypes, type TypedGraph } from '../ir/infer.ts';
import type { OrtModule } from '../ort.ts';
import { foldConstants } from '../passes/constants.ts';
import { type Decisions, type Match, matchNodes } from '../passes/match.ts';
import { selectEarly } from '../passes/select-early.ts';
import { chooseSides, type Sides } from '../plan/cost.ts';
import { neededNodes, unitsOf } from '../plan/units.ts';
import { wholeReason } from '../plan/whole.ts';
import { isOrtFormat, type ModelRecord, readModel } from '../read/model.ts';
import { openExternal, openSource, siblingOf } from '../read/open.ts';
import type { ByteSource } from '../read/source.ts';
import { formatChooser } from '../weights/quantize-option.ts';
import type { Watch } from './abort.ts';
import { nodeReports, regionReport, wholeReports } from './describe.ts';
import { CutRefused, createForeign, messageOf } from './foreign.ts';
import { KvKeeper } from './kv/keeper.ts';
import { canBeLazy } from './kv/lazy.ts';
import { Block, Space } from './memory.ts';
import { checkCuttable, type MsdOptions, parseSessionOptions, type SessionRequest } from './options.ts';
import { withOverrides } from './overrides.ts';
import { isNoMemory, typedError } from './raw-errors.ts';
import { loadResidents } from './residents.ts';
import { CutSession, type MsdHandler } from './session.ts';
import { createWhole } from './whole.ts';

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
  const request = parseSessionOptions(options, defaults);
  const { watch, download } = request;
  watch.check();
  const source = await stoppable(watch, openSource(model, download));
  let external: ReadonlyMap<string, ByteSource> | undefined;
  /** Sources that a session reads rows from: they are closed with it. */
  const kept = new Set<ByteSource>();
  try {
    watch.check();
    // A fetched model is passed on as bytes: it is not fetched twice.
    const original = typeof model === 'string' && source.bytes ? source.bytes : model;
    if (isOrtFormat(source)) return await createWhole(ort, original, request.whole, 'a file in ORT format', [], watch);
    const record = withOverrides(readModel(source), request.overrides);
    external = record.files.sources;
    let graph = buildGraph(record);
    const all = request.msd.claim === 'all';
    let reason: string | undefined;
    /** Why a file could not be opened: of two errors the one that names it. */
    let missing: unknown;
    try {
      await openExternal(record.files, neededLocations(graph), model, request.externalData, download);
    } catch (error) {
      watch.check();
      missing = error;
      reason = messageOf(error);
    }
    graph = foldConstants(graph);
    let typed = inferTypes(graph);
    reason ??= typed.contradiction;
    const early = selectEarly(record, typed);
    if (early !== graph) typed = inferTypes((graph = foldConstants(early)));
    let decisions: Decisions = new Map();
    const chooseFormat = formatChooser(request.msd.quantize);
    for (const checksScales of [false, true]) {
      if (reason === undefined) decisions = matchNodes(typed, checksScales, chooseFormat);
      reason ??= wholeReason(graph, neededNodes(graph), record.functions, decisions, all);
      if (reason !== undefined) break;
      const matches = new Map<GraphNode, Match>();
      for (const [node, decision] of decisions) if (typeof decision === 'object') matches.set(node, decision);
      const sides = chooseSides(typed, unitsOf(graph, matches), all);
      reason = sides.whole;
      if (reason !== undefined) break;
      checkCuttable(request, graph.outputs);
      try {
        const session = await createCut(ort, typed, decisions, sides, request, kept, started);
        request.progress.report('ready', 0, 0);
        return session;
      } catch (error) {
        // Scales are read once, when they are packed. One that MSD does not take is rare: then all is decided again.
        if (error instanceof RangeError && !isNoMemory(error) && !checksScales) continue;
        if (!(error instanceof CutRefused)) throw error;
        reason = error.message;
        break;
      }
    }
    const nodes = wholeReports(graph, decisions);
    request.progress.report('start', 0, undefined);
    const options = wholeOptions(model, record, request);
    const session = await createWhole(ort, original, options, reason!, nodes, watch).catch((error: unknown) => {
      throw error instanceof AbortError ? error : (missing ?? error);
    });
    request.progress.report('ready', 0, 0);
    return session;
  } catch (error) {
    throw typedError('create', error);
  } finally {
    for (const each of [source, ...(external?.values() ?? [])]) if (!kept.has(each)) each.close();
  }
}

/** External files of the constants that somebody uses. */
function neededLocations({ constants }: Graph): Set<string> {
  const locations = new Set<string>();
  for (const constant of constants.values())
    if (constant.kind === 'tensor' && constant.tensor.storage.kind === 'external')
      locations.add(constant.tensor.storage.location);
  return locations;
}

async function createCut(
  ort: OrtModule,
  typed: TypedGraph,
  decisions: Decisions,
  { regions, prices }: Sides,
  request: SessionRequest,
  kept: Set<ByteSource>,
  started: number,
): Promise<MsdHandler> {
  const { graph, infos } = typed;
  if (regions.some(({ claimed }) => !claimed)) request.progress.report('start', 0, undefined);
  const foreign = await createForeign(ort, graph, regions, request.region, infos, request.watch);
  try {
    const claimed = regions.filter(({ claimed }) => claimed).flatMap(({ units }) => units.map(({ match }) => match!));
    const residents = await loadResidents(claimed, request, kvBytesPerToken(claimed, infos, request.msd.kvCache));
    const { backend: device } = residents;
    for (const source of residents.sources) kept.add(source);
    const split = { components: request.msd.components, activationBlock: request.msd.activationBlock };
    const { kvCache } = request.msd;
    const kv = {
      keeper: new KvKeeper((shape) => createKvCache(device, shape)),
      type: kvCache === 'model' ? ('float' as const) : kvCache,
      isLazy: canBeLazy(ort),
    };
    const plan = regions.map((region) => {
      if (!region.claimed) return foreign.regions.find((entry) => entry.index === region.index)!;
      return { matches: region.units.map(({ match }) => match!) };
    });
    return new CutSession({
      ort,
      shop: { typed, device, residents, space: new Space(device), block: new Block(device), split, kv },
      plan,
      sessions: foreign.sessions,
      inputs: graph.inputs,
      outputs: graph.outputs,
      nodes: nodeReports(graph, decisions, regions, foreign, residents),
      regions: regions.map((region, i) => regionReport(region, prices[i]!, foreign)),
      profiledFrom: request.isProfiled ? started : undefined,
      graphOptimizationLevel: foreign.level,
      close() {
        for (const source of kept) source.close();
      },
    });
  } catch (error) {
    await Promise.all(foreign.sessions.map((session) => session.release()));
    throw error;
  }
}

/** Waits for what a signal stops: what fails because of it is an AbortError. */
async function stoppable<T>(watch: Watch, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    watch.check();
    throw error;
  }
}

/** Bytes of an element. */
const KV_BYTES = { int16: 2, int8: 1, model: 4 } as const;

/** What a token adds to the caches that a session keeps, as far as their sizes are known. */
function kvBytesPerToken(matches: readonly Match[], infos: Infos, type: keyof typeof KV_BYTES): number {
  let elements = 0;
  for (const { caches, outputs } of matches)
    for (const name of outputs) {
      if (!caches?.includes(name)) continue;
      const dims = infos.get(name)?.dims ?? []; // [batch, heads, positions, size], in one tensor [2, …]
      const [heads, size] = [dims.at(-3), dims.at(-1)];
      if (typeof heads === 'number' && typeof size === 'number') elements += (dims.length === 5 ? 2 : 1) * heads * size;
    }
  return elements * KV_BYTES[type];
}

/**
 * ONNX Runtime Web looks for external data only where it is told to: files beside a path or URL are named here, or handed over if
 * they were read already. What lies nowhere is left out: nobody may need it.
 */
function wholeOptions(model: string | Uint8Array, { files }: ModelRecord, request: SessionRequest): object {
  if (request.externalData.length > 0 || files.locations.size === 0) return request.whole;
  const externalData: { path: string; data: string | Uint8Array }[] = [];
  for (const path of files.locations) {
    const data = files.sources.get(path)?.bytes ?? placeOf(model, path);
    if (data !== undefined) externalData.push({ path, data });
  }
  return { ...request.whole, externalData };
}

function placeOf(model: string | Uint8Array, location: string): string | undefined {
  try {
    return siblingOf(model, location);
  } catch {
    return undefined;
  }
}
