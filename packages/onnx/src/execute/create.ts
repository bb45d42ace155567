/**
 * From a model to a running session: read, check, claim, cut, load.
 */
import { createKvCache } from '@msd/core';
import { Branches, type Choice } from '../inline/branches.ts';
import type { Graph } from '../ir/graph.ts';
import type { Infos } from '../ir/infer.ts';
import { LeftToOrt } from '../left.ts';
import { cpuProvider, type OrtModule } from '../ort.ts';
import type { Match } from '../passes/matcher.ts';
import type { Region } from '../plan/partition.ts';
import { arrived, whileArriving } from '../read/arriving.ts';
import { isOrtFormat, type ModelRecord, readModel } from '../read/model.ts';
import { openExternal, openSource } from '../read/open.ts';
import type { ByteSource } from '../read/source.ts';
import type { TensorRef } from '../read/tensor.ts';
import { formatChooser } from '../weights/quantize-option.ts';
import type { Watch } from './abort.ts';
import { cutReports, mergedNodes, wholeReports } from './describe.ts';
import { type Draft, draftOf, hasProductInside, mayMultiply, wholeOf } from './drafts.ts';
import { neededLocations, wholeOptions } from './files.ts';
import { CutRefused, createForeign, type ForeignPlan } from './foreign.ts';
import { KvKeeper } from './kv/keeper.ts';
import { canBeLazy } from './kv/lazy.ts';
import { Block, Space } from './memory.ts';
import { checkCuttable, type MsdOptions, parseSessionOptions, type SessionRequest } from './options.ts';
import { withOverrides } from './overrides.ts';
import { passedValues } from './passed.ts';
import { isNoMemory, typedError } from './raw-errors.ts';
import { loadResidents } from './residents.ts';
import type { RegionPlan } from './schedule.ts';
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
  const request = parseSessionOptions(options, { fallback: [cpuProvider(ort)], ...defaults });
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
    if (isOrtFormat(source)) {
      const reason = 'a file in ORT format';
      if (request.isTakenOver) throw leftToOrt(reason, model, original);
      return await createWhole(ort, original, request.whole, reason, [], watch);
    }
    const record = withOverrides(readModel(source), request.overrides);
    external = record.files.sources;
    const branches = new Branches(record);
    const planned = branches.planned(mayMultiply);
    const all = request.msd.claim === 'all';
    const files = openExternal(record.files, neededLocations(planned), model, request.externalData, download);
    await stoppable(watch, files);
    const { exact, quantize, relax: relaxes } = request.msd;
    const drafting = { all, exact, relaxes, chooseFormat: formatChooser(quantize) };
    const work = async (): Promise<MsdHandler> => {
      let variants = planned;
      let reason: string | undefined;
      let drafts: readonly Draft[] = [];
      for (const checksScales of [false, true]) {
        drafts = variants.all.map((variant) => draftOf(variant, { ...drafting, checksScales }));
        if (variants.all.some(({ taken }) => taken.length > 0) && !drafts.some(hasProductInside)) {
          // Nothing to take in any branch: each If is a node like others.
          variants = branches.whole();
          drafts = variants.all.map((variant) => draftOf(variant, { ...drafting, checksScales }));
        }
        reason = wholeOf(drafts);
        if (reason !== undefined) break;
        checkCuttable(request, record.graph.outputs);
        try {
          const session = await createCut(ort, record, drafts, variants.choice, request, kept, started);
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
      const nodes = mergedNodes(drafts.map(({ typed: { graph }, decisions }) => wholeReports(graph, decisions)));
      request.progress.report('start', 0, undefined);
      for (const each of record.files.sources.values()) await arrived(each);
      const options = await wholeOptions(model, record, request);
      if (request.isTakenOver) throw leftToOrt(reason!, model, original, options);
      const session = await createWhole(ort, original, options, reason!, nodes, watch);
      request.progress.report('ready', 0, 0);
      return session;
    };
    const reopen = async (): Promise<void> => {
      for (const each of record.files.sources.values()) each.close();
      record.files.sources.clear();
      const whole = { ...download, isRead: false };
      await openExternal(record.files, neededLocations(planned), model, request.externalData, whole);
    };
    return await stoppable(watch, whileArriving(work, reopen));
  } catch (error) {
    throw error instanceof LeftToOrt ? error : typedError('create', error);
  } finally {
    for (const each of [source, ...(external?.values() ?? [])]) if (!kept.has(each)) each.close();
  }
}

function tensorsOf({ constants }: Graph): TensorRef[] {
  return [...constants.values()].flatMap((constant) => (constant.kind === 'tensor' ? [constant.tensor] : []));
}

async function createCut(
  ort: OrtModule,
  { graph: { outputs } }: ModelRecord,
  drafts: readonly Draft[],
  choice: Choice,
  request: SessionRequest,
  kept: Set<ByteSource>,
  started: number,
): Promise<MsdHandler> {
  const foreign: ForeignPlan[] = [];
  try {
    if (drafts.some(({ sides }) => sides!.regions.some(({ claimed }) => !claimed)))
      request.progress.report('start', 0, undefined);
    for (const { typed, sides } of drafts)
      foreign.push(await createForeign(ort, typed.graph, sides!.regions, request.region, typed.infos, request.watch));
    const ways = drafts.map(({ sides }) =>
      sides!.regions.flatMap((region) => (region.claimed ? region.units.map(({ match }) => match!) : [])),
    );
    const perToken = ways.map((way, i) => kvBytesPerToken(way, drafts[i]!.typed.infos, request.msd.kvCache));
    const tensors = drafts.flatMap(({ typed: { graph } }) => tensorsOf(graph));
    const residents = await loadResidents(ways.flat(), request, Math.max(...perToken), tensors);
    const { backend: device } = residents;
    for (const source of residents.sources) kept.add(source);
    const split = { components: request.msd.components, activationBlock: request.msd.activationBlock };
    const { kvCache } = request.msd;
    const shop = {
      device,
      residents,
      space: new Space(device),
      block: new Block(device),
      split,
      kv: {
        keeper: new KvKeeper((shape) => createKvCache(device, shape)),
        type: kvCache === 'model' ? ('float' as const) : kvCache,
        isLazy: canBeLazy(ort),
      },
    };
    return new CutSession({
      ort,
      variants: drafts.map(({ typed, sides, passed, taken }, i) => ({
        shop: { ...shop, typed },
        plan: planOf(sides!.regions, foreign[i]!),
        passed: passedValues(passed),
        taken,
      })),
      choice,
      sessions: foreign.flatMap(({ sessions }) => sessions),
      inputs: drafts[0]!.typed.graph.inputs,
      outputs,
      ...cutReports(drafts, foreign, residents),
      profiledFrom: request.isProfiled ? started : undefined,
      graphOptimizationLevel: foreign.find(({ level }) => level !== undefined)?.level,
      close() {
        for (const source of kept) source.close();
      },
    });
  } catch (error) {
    await Promise.all(foreign.flatMap(({ sessions }) => sessions.map((session) => session.release())));
    throw error;
  }
}

/** What was fetched, or looked for beside the model, travels along. */
function leftToOrt(
  reason: string,
  model: string | Uint8Array,
  original: string | Uint8Array,
  { externalData }: { readonly externalData?: readonly object[] } = {},
): LeftToOrt {
  const isFetched = typeof model === 'string' && typeof original !== 'string';
  return isFetched ? new LeftToOrt(reason, original, externalData) : new LeftToOrt(reason);
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

function planOf(regions: readonly Region[], foreign: ForeignPlan): RegionPlan {
  return regions.map((region) => {
    if (!region.claimed) return foreign.regions.find((entry) => entry.index === region.index)!;
    return { matches: region.units.map(({ match }) => match!) };
  });
}
