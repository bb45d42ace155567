/** Sessions of ONNX Runtime for all that is its own in a cut model, bodies of control flow among them; and the plans around them. */
import { createKvCache } from '@msd/core';
import { pathOf } from '../../inline/bodies.ts';
import type { OrtModule } from '../../ort.ts';
import type { Match } from '../../passes/matcher.ts';
import type { Region } from '../../plan/partition.ts';
import type { ValueType } from '../../read/types.ts';
import type { Draft } from '../drafts.ts';
import { createForeign, type ForeignPlan } from '../foreign.ts';
import { KvKeeper } from '../kv/keeper.ts';
import { Space } from '../memory.ts';
import type { SessionRequest } from '../options.ts';
import { constantTensor, passedValues } from '../passed.ts';
import type { Workshop } from '../plan.ts';
import type { RegionPlan } from '../schedule.ts';
import type { CutVariant } from '../ways.ts';
import { Body } from './body.ts';
import type { BodyDraft, ControlDraft } from './draft.ts';
import type { Control, Inner } from './runner.ts';

/** A way through a model or a body, with its sessions. */
export interface BuiltWay {
  readonly draft: Draft;
  /** Sessions of its bodies are among these. */
  readonly foreign: ForeignPlan;
  /** Ways through each body of a region that is control flow. */
  readonly bodies: ReadonlyMap<Region, readonly (readonly BuiltWay[])[]>;
}

type Types = ReadonlyMap<string, ValueType>;
type Request = Pick<SessionRequest, 'region' | 'watch'>;

/**
 * @param typeOf of inputs, by their place: of bodies
 * @throws `CutRefused`; no session is left then
 */
export async function buildWays(
  ort: OrtModule,
  drafts: readonly Draft[],
  request: Request,
  typeOf?: (name: string, place: number) => ValueType | undefined,
): Promise<BuiltWay[]> {
  const ways: BuiltWay[] = [];
  try {
    for (const draft of drafts) ways.push(await buildWay(ort, draft, request, typeOf));
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
  typeOf: ((name: string, place: number) => ValueType | undefined) | undefined,
): Promise<BuiltWay> {
  const { typed, sides } = draft;
  // Only element types go into a body: a carried value may have other sizes in every pass.
  const inputs = typed.graph.inputs.map(({ name, type }, i) => {
    const elemType = type.elemType || (typeOf?.(name, i)?.elemType ?? 0);
    return typeOf ? { name, type: { kind: 'tensor' as const, elemType, dims: undefined } } : { name, type };
  });
  const bodies = new Map<Region, readonly (readonly BuiltWay[])[]>();
  const nested = async (region: Region, types: Types) => {
    const control = controlOf(draft, region);
    const built: BuiltWay[][] = [];
    try {
      for (const body of control.bodies)
        built.push(await buildWays(ort, body.drafts, request, (name, i) => inputType(control, body, types, name, i)));
    } catch (error) {
      await Promise.all(sessionsOf(built.flat()).map((session) => session.release()));
      throw error;
    }
    bodies.set(region, built);
    const outputs = region.outputs.map((name) => outputType(control, built, control.node.outputs.indexOf(name)));
    return { sessions: sessionsOf(built.flat()), level: levelOf(built.flat()), outputs };
  };
  const graph = { ...typed.graph, inputs };
  const foreign = await createForeign(ort, graph, sides!.regions, request.region, typed.infos, request.watch, nested);
  return { draft, foreign, bodies };
}

/** A way that no session is made for: to look at. */
export function unbuiltWay(draft: Draft): BuiltWay {
  const bodies = new Map<Region, readonly (readonly BuiltWay[])[]>();
  for (const region of draft.sides!.regions)
    if (region.control)
      bodies.set(
        region,
        controlOf(draft, region).bodies.map(({ drafts }) => drafts.map(unbuiltWay)),
      );
  return { draft, foreign: { regions: [], sessions: [], level: undefined, types: new Map() }, bodies };
}

export const levelOf = (ways: readonly BuiltWay[]): string | undefined =>
  ways.find(({ foreign: { level } }) => level !== undefined)?.foreign.level;

const controlOf = ({ controls }: Draft, { nodes: [node] }: Region): ControlDraft => controls.get(node!) as ControlDraft;

/** Inputs of the node and of its body stand in the same places, but for those of an If, which has none. */
function inputType(
  { node }: ControlDraft,
  { inputs, captured }: BodyDraft,
  types: Types,
  name: string,
  place: number,
): ValueType | undefined {
  const isOwn = place < inputs.length - captured.length;
  return types.get(isOwn ? (node.inputs[place] ?? '') : name);
}

/** Outputs of a body before those that the node hands on: of a Loop the condition. */
const firstOutput = ({ node }: ControlDraft): number => (node.opType === 'Loop' ? 1 : 0);

function outputType(
  control: ControlDraft,
  built: readonly (readonly BuiltWay[])[],
  position: number,
): ValueType | undefined {
  for (const [b, { outputs }] of control.bodies.entries()) {
    const name = outputs[firstOutput(control) + position]!;
    for (const { draft, foreign } of built[b]!) {
      const passed = draft.passed.get(name);
      const from = passed?.kind === 'input' ? passed.name : (draft.same.get(name) ?? name);
      const elemType = foreign.types.get(from)?.elemType || (draft.typed.infos.get(from)?.elemType ?? 0);
      if (elemType !== 0) return { kind: 'tensor', elemType, dims: undefined };
    }
  }
  return undefined;
}

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
    const control = controlOf(draft, region);
    const given = control.inputs.map((name) => {
      const constant = constants.get(name);
      return constant ? constantTensor(constant, ort) : name;
    });
    const { outputs } = control.node;
    return { control: controlIn(ort, control, bodies.get(region)!, shop), index: region.index, given, outputs };
  });
}

function controlIn(
  ort: OrtModule,
  draft: ControlDraft,
  built: readonly (readonly BuiltWay[])[],
  shop: Omit<Workshop, 'typed'>,
): Control {
  const { node, scanned } = draft;
  const bodies = draft.bodies.map((body, b): Inner => {
    const { device, kv } = shop;
    // A pass must not touch what lies around it.
    const own = {
      ...shop,
      space: new Space(device),
      kv: { ...kv, keeper: new KvKeeper((shape) => createKvCache(shop.residents.backend, shape)) },
    };
    const { choice, inputs, outputs, captured, attribute } = body;
    const variants = built[b]!.map((way) => variantOf(ort, way, own));
    const [{ typed }] = body.drafts as readonly [Draft, ...Draft[]];
    return {
      body: new Body({ ort, path: pathOf(node, attribute), variants, choice, inputs, outputs }),
      captured: captured.map((name) => draft.inputs.indexOf(name)),
      outputs: outputs.map((name) => typed.infos.get(name) ?? { elemType: 0, dims: undefined }),
      ranks: typed.graph.inputs.map(({ type }) => type.dims?.length ?? 0),
    };
  });
  return { ort, node, bodies, scanned, inputs: node.inputs.map((name) => draft.inputs.indexOf(name)) };
}
