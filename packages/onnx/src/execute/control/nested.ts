/** Sessions of ONNX Runtime for bodies of control flow, and the plans around them. */
import { createKvCache } from '@msd/core';
import { pathOf } from '../../inline/bodies.ts';
import type { OrtModule } from '../../ort.ts';
import type { Region } from '../../plan/partition.ts';
import type { ValueType } from '../../read/types.ts';
import type { Draft } from '../drafts.ts';
import type { Parts } from '../families.ts';
import type { CreateNested } from '../foreign.ts';
import { KvKeeper } from '../kv/keeper.ts';
import { Space } from '../memory.ts';
import type { Workshop } from '../plan.ts';
import { Body } from './body.ts';
import { type Bodies, type BuiltWay, buildWays, levelOf, type Request, sessionsOf, variantOf } from './build.ts';
import type { BodyDraft, ControlDraft } from './draft.ts';
import { type Inner, type RunnableControl, runControl } from './runner.ts';

type Types = ReadonlyMap<string, ValueType>;

export interface Around {
  readonly ort: OrtModule;
  readonly draft: Draft;
  readonly request: Request;
  readonly parts: Parts;
  /** Ways through bodies are put into it. */
  readonly bodies: Bodies;
}

export const nestedIn =
  ({ ort, draft, request, parts, bodies }: Around): CreateNested =>
  async (region, types) => {
    const control = controlOf(draft, region);
    const built: BuiltWay[][] = [];
    try {
      for (const body of control.bodies)
        built.push(
          await buildWays(ort, body.drafts, request, parts, (name, i) => inputType(control, body, types, name, i)),
        );
    } catch (error) {
      await Promise.all(sessionsOf(built.flat()).map((session) => session.release()));
      throw error;
    }
    bodies.set(region, built);
    const outputs = region.outputs.map((name) => outputType(control, built, control.node.outputs.indexOf(name)));
    return { sessions: sessionsOf(built.flat()), level: levelOf(built.flat()), outputs };
  };

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

/** Control flow that can run. @param shop of the session */
export function controlIn(
  ort: OrtModule,
  draft: ControlDraft,
  built: readonly (readonly BuiltWay[])[],
  shop: Omit<Workshop, 'typed'>,
): RunnableControl {
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
  const control = { ort, node, bodies, scanned, inputs: node.inputs.map((name) => draft.inputs.indexOf(name)) };
  return { ...control, run: (given, running) => runControl(control, given, running) };
}
