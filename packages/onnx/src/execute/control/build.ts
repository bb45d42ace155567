/**
 * Sessions of ONNX Runtime for its parts of a cut model, including bodies of control flow; and the plans around them.
 */
import type { OrtModule } from '../../ort.ts';
import type { Match } from '../../passes/matcher.ts';
import type { Region } from '../../plan/partition.ts';
import type { ValueType } from '../../read/types.ts';
import type { Draft } from '../drafts.ts';
import type { Parts } from '../families.ts';
import type { ForeignPlan } from '../foreign.ts';
import type { SessionRequest } from '../options.ts';
import { constantTensor, passedValues } from '../passed.ts';
import type { Workshop } from '../plan.ts';
import type { RegionPlan } from '../schedule.ts';
import type { CutVariant } from '../ways.ts';
import type { ControlDraft } from './draft.ts';

/** A way through a model or a body, with its sessions. */
export interface BuiltWay {
  readonly draft: Draft;
  /** Sessions of its bodies are among these. */
  readonly foreign: ForeignPlan;
  /** Ways through each body of a region that is control flow. */
  readonly bodies: ReadonlyMap<Region, readonly (readonly BuiltWay[])[]>;
}

export type Request = Pick<SessionRequest, 'region' | 'watch'>;
/** Ways through each body of a region that is control flow. */
export type Bodies = Map<Region, readonly (readonly BuiltWay[])[]>;

/** For graphs of which ONNX Runtime runs nothing. */
const NOT_FOREIGN: ForeignPlan = { regions: [], sessions: [], level: undefined, types: new Map() };

/**
 * @param typeOf of inputs, by their place: of bodies
 * @throws `CutRefused`; no session is left then
 */
export async function buildWays(
  ort: OrtModule,
  drafts: readonly Draft[],
  request: Request,
  parts: Parts,
  typeOf?: (name: string, place: number) => ValueType | undefined,
): Promise<BuiltWay[]> {
  const ways: BuiltWay[] = [];
  try {
    for (const draft of drafts) ways.push(await buildWay(ort, draft, request, parts, typeOf));
    return ways;
  } catch (error) {
    await Promise.all(sessionsOf(ways).map((session) => session.release()));
    throw error;
  }
}

export const sessionsOf = (ways: readonly BuiltWay[]): ForeignPlan['sessions'] =>
  ways.flatMap(({ foreign }) => foreign.sessions);

async function buildWay(
  ort: OrtModule,
  draft: Draft,
  request: Request,
  parts: Parts,
  typeOf: ((name: string, place: number) => ValueType | undefined) | undefined,
): Promise<BuiltWay> {
  const { typed, sides } = draft;
  // Only element types go into a body: a carried value may have other sizes in every pass.
  const inputs = typed.graph.inputs.map(({ name, type }, i) => {
    const elemType = type.elemType || (typeOf?.(name, i)?.elemType ?? 0);
    return typeOf ? { name, type: { kind: 'tensor' as const, elemType, dims: undefined } } : { name, type };
  });
  const bodies: Bodies = new Map();
  const graph = { ...typed.graph, inputs };
  const { regions } = sides!;
  if (regions.every(({ claimed }) => claimed)) return { draft, foreign: NOT_FOREIGN, bodies };
  const { createForeign } = (await import('../ort-side.ts')).ortSide;
  const nested = parts.control?.nested({ ort, draft, request, parts, bodies });
  const foreign = await createForeign(ort, graph, regions, request.region, typed.infos, request.watch, nested);
  return { draft, foreign, bodies };
}

/** A way without sessions, for inspection. */
export function unbuiltWay(draft: Draft): BuiltWay {
  const bodies = new Map<Region, readonly (readonly BuiltWay[])[]>();
  for (const region of draft.sides!.regions)
    if (region.control)
      bodies.set(
        region,
        (draft.controls.get(region.nodes[0]!) as ControlDraft).bodies.map(({ drafts }) => drafts.map(unbuiltWay)),
      );
  return { draft, foreign: NOT_FOREIGN, bodies };
}

export const levelOf = (ways: readonly BuiltWay[]): string | undefined =>
  ways.find(({ foreign: { level } }) => level !== undefined)?.foreign.level;

/** Everything that MSD takes on a way, and in bodies on it. */
export function matchesOf({ draft, bodies }: BuiltWay): Match[] {
  return draft.sides!.regions.flatMap((region) => {
    if (region.control) return bodies.get(region)!.flatMap((ways) => ways.flatMap(matchesOf));
    return region.claimed ? region.units.map(({ match }) => match!) : [];
  });
}

/** Graphs of a way and of bodies on it. */
export function graphsOf({ draft, bodies }: BuiltWay): Draft['typed'][] {
  return [draft.typed, ...[...bodies.values()].flatMap((each) => each.flatMap((ways) => ways.flatMap(graphsOf)))];
}

/** A way that can run. @param shop of the session */
export function variantOf(ort: OrtModule, way: BuiltWay, shop: Omit<Workshop, 'typed'>): CutVariant {
  const { typed, passed, same, taken } = way.draft;
  return { shop: { ...shop, typed }, plan: planOf(ort, way, shop), passed: passedValues(passed), same, taken };
}

function planOf(ort: OrtModule, way: BuiltWay, shop: Omit<Workshop, 'typed'>): RegionPlan {
  const { draft, foreign, bodies } = way;
  const { constants } = draft.typed.graph;
  return draft.sides!.regions.map((region) => {
    if (region.claimed) return { matches: region.units.map(({ match }) => match!) };
    if (!region.control) return foreign.regions.find((entry) => entry.index === region.index)!;
    const control = draft.controls.get(region.nodes[0]!) as ControlDraft;
    const given = control.inputs.map((name) => {
      const constant = constants.get(name);
      return constant ? constantTensor(constant, ort) : name;
    });
    const { outputs } = control.node;
    return {
      control: shop.parts.control!.build(ort, control, bodies.get(region)!, shop),
      index: region.index,
      given,
      outputs,
    };
  });
}
