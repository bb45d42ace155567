/** From drafts to a session that runs region by region. */
import { createKvCache } from '@msd/core';
import type { Choice } from '../inline/branches.ts';
import type { Graph } from '../ir/graph.ts';
import type { Infos } from '../ir/infer.ts';
import type { OrtModule } from '../ort.ts';
import type { Match } from '../passes/matcher.ts';
import type { ModelRecord } from '../read/model.ts';
import type { ByteSource } from '../read/source.ts';
import type { TensorRef } from '../read/tensor.ts';
import { isArriving } from './arriving-place.ts';
import {
  type BuiltWay,
  buildWays,
  graphsOf,
  levelOf,
  matchesOf,
  sessionsOf,
  unbuiltWay,
  variantOf,
} from './control/build.ts';
import type { CutModel } from './cut-model.ts';
import { cutReports, innerNodes } from './describe.ts';
import type { Draft } from './drafts.ts';
import type { Parts } from './families.ts';
import { KvKeeper } from './kv/keeper.ts';
import { canBeLazy } from './kv/lazy.ts';
import { Block, Space } from './memory.ts';
import type { SessionRequest } from './options.ts';
import type { StartedThreads } from './pack-threads-early.ts';
import { fetchMissing } from './parts.ts';
import { rehearse } from './rehearse.ts';
import { type Residents, reserveResidents } from './residents.ts';
import { CutSession, type MsdHandler } from './session.ts';
import { type PlannedWays, planWays } from './ways.ts';

/** What creating a cut session needs, besides drafts. */
export interface Cutting {
  readonly ort: OrtModule;
  readonly record: ModelRecord;
  readonly parts: Parts;
  readonly request: SessionRequest;
  /** Sources that the session reads rows from: they are closed with it. */
  readonly kept: Set<ByteSource>;
  /** When its creation began. */
  readonly started: number;
  /** Threads for its weights. */
  readonly packThreads: StartedThreads | undefined;
}

/** A draft for each way through a model. */
export interface Ways {
  readonly drafts: readonly Draft[];
  readonly choice: Choice;
}

function tensorsOf({ constants }: Graph): TensorRef[] {
  return [...constants.values()].flatMap((constant) => (constant.kind === 'tensor' ? [constant.tensor] : []));
}

/**
 * ONNX Runtime starts, and creates sessions for its regions, while weights are packed. If a file is still arriving,
 * these come first, because packing frees bytes. So do bodies of control flow, which may turn out to be ONNX Runtime's.
 * Without any of that, runs are planned first: meanwhile memory gets its pages, and a file arrives.
 */
export async function createCut(cutting: Cutting, { drafts, choice }: Ways): Promise<MsdHandler> {
  const { ort, record, parts, request, kept, started } = cutting;
  const isForeign = drafts.some(({ sides }) => sides!.regions.some(({ claimed }) => !claimed));
  if (isForeign) request.progress.report('start', 0, undefined);
  const isBeside = isForeign && canBeBeside(drafts);
  const { ways, inner, residents } = await (isBeside ? beside(cutting, drafts) : inTurn(cutting, drafts));
  try {
    const { backend: device } = residents;
    const split = { components: request.msd.components, activationBlock: request.msd.activationBlock };
    const { kvCache } = request.msd;
    const shop = {
      parts,
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
    const { inputs } = drafts[0]!.typed.graph;
    const { outputs } = record.graph;
    const [given, results] = [inputs, outputs].map((values) => values.map(({ name }) => name));
    const plan = async () => {
      const variants = ways.map((way) => variantOf(ort, way, shop));
      return { variants, planned: await plannedWays(variants, given!, results!) };
    };
    if (isForeign) await residents.fill();
    const planned = await plan();
    await residents.fill();
    for (const source of residents.sources) kept.add(source);
    const model: CutModel = {
      ort,
      ...planned,
      choice,
      sessions: sessionsOf(ways),
      inputs,
      outputs,
      ...cutReports(ways, inner, residents),
      profiledFrom: request.isProfiled ? started : undefined,
      graphOptimizationLevel: levelOf(ways),
      close() {
        for (const source of kept) source.close();
      },
    };
    const session = new CutSession(model);
    if (!request.isProfiled) await rehearse(session, model, request);
    return session;
  } catch (error) {
    await residents.dispose();
    await releaseAll(ways);
    throw error;
  }
}

/** Everything that a session is made of. */
interface Loaded {
  readonly ways: readonly BuiltWay[];
  readonly inner: ReturnType<typeof innerNodes>;
  readonly residents: Residents;
}

function canBeBeside(drafts: readonly Draft[]): boolean {
  const isControl = drafts.some(({ sides }) => sides!.regions.some(({ control }) => control));
  return !isControl && !isArriving(drafts.flatMap(({ typed: { graph } }) => tensorsOf(graph)));
}

async function inTurn({ ort, parts, request, packThreads }: Cutting, drafts: readonly Draft[]): Promise<Loaded> {
  const ways = await buildWays(ort, drafts, request, parts);
  try {
    return { ways, ...(await reserve(ways, request, packThreads)) };
  } catch (error) {
    await releaseAll(ways);
    throw error;
  }
}

async function beside({ ort, parts, request, packThreads }: Cutting, drafts: readonly Draft[]): Promise<Loaded> {
  const building = buildWays(ort, drafts, request, parts);
  const loading = load(drafts.map(unbuiltWay), request, packThreads);
  const [built, loaded] = await Promise.allSettled([building, loading]);
  if (built.status === 'fulfilled' && loaded.status === 'fulfilled') return { ways: built.value, ...loaded.value };
  if (loaded.status === 'fulfilled') await loaded.value.residents.dispose();
  if (built.status === 'fulfilled') await releaseAll(built.value);
  throw built.status === 'rejected' ? built.reason : (loaded as PromiseRejectedResult).reason;
}

async function load(
  ways: readonly BuiltWay[],
  request: SessionRequest,
  packThreads: StartedThreads | undefined,
): Promise<Omit<Loaded, 'ways'>> {
  const loaded = await reserve(ways, request, packThreads);
  try {
    await loaded.residents.fill();
    return loaded;
  } catch (error) {
    await loaded.residents.dispose();
    throw error;
  }
}

async function reserve(
  ways: readonly BuiltWay[],
  request: SessionRequest,
  packThreads: StartedThreads | undefined,
): Promise<Omit<Loaded, 'ways'>> {
  const perToken = ways.map((way) => kvBytesPerToken(way, request.msd.kvCache));
  const graphs = ways.flatMap((way) => graphsOf(way).map(({ graph }) => graph));
  // Before the bytes of a fetched file are freed.
  const inner = innerNodes(graphs);
  const matches = ways.flatMap(matchesOf);
  const tensors = graphs.flatMap(tensorsOf);
  const residents = await reserveResidents(matches, request, Math.max(...perToken), tensors, packThreads);
  return { inner, residents };
}

async function releaseAll(ways: readonly BuiltWay[]): Promise<void> {
  await Promise.all(sessionsOf(ways).map((session) => session.release()));
}

/** Plans may need what was not fetched yet. */
async function plannedWays(...given: Parameters<typeof planWays>): Promise<PlannedWays> {
  try {
    return planWays(...given);
  } catch (error) {
    await fetchMissing(error);
    return planWays(...given);
  }
}

/** Bytes of an element. */
const KV_BYTES = { int16: 2, int8: 1, model: 4 } as const;

/** Bytes that a token adds to the caches of a session, as far as their sizes are known. */
export function kvBytesPerToken(way: BuiltWay, type: keyof typeof KV_BYTES): number {
  const matches = matchesOf(way);
  return graphsOf(way).reduce((sum, { infos }) => sum + keptElements(matches, infos) * KV_BYTES[type], 0);
}

function keptElements(matches: readonly Match[], infos: Infos): number {
  let elements = 0;
  for (const { caches, outputs } of matches)
    for (const name of outputs) {
      if (!caches?.includes(name)) continue;
      const dims = infos.get(name)?.dims ?? []; // [batch, heads, positions, size], in one tensor [2, …]
      const [heads, size] = [dims.at(-3), dims.at(-1)];
      if (typeof heads === 'number' && typeof size === 'number') elements += (dims.length === 5 ? 2 : 1) * heads * size;
    }
  return elements;
}
