/** The draft of a model, or of one way through its branches: types, matches, sides. Nothing is loaded yet. */
import type { Branches, Variant, Variants } from '../inline/branches.ts';
import type { Graph, GraphNode } from '../ir/graph.ts';
import { inferTypes, type TypedGraph } from '../ir/infer.ts';
import { directOutputs } from '../passes/direct-outputs.ts';
import { type Decisions, matchNodes } from '../passes/match.ts';
import type { Match, MatchOptions } from '../passes/matcher.ts';
import { allForeign, chooseSides, type Sides } from '../plan/cost.ts';
import { type Passed, passedOutputs, sameOutputs, withoutOutputs } from '../plan/passed.ts';
import { neededNodes, type Unit, unitsOf } from '../plan/units.ts';
import { refusalOf, wholeReason } from '../plan/whole.ts';
import type { NodeRecord } from '../read/node.ts';
import type { ControlDraft, Drafted, DraftedBodies } from './control/draft.ts';
import type { Parts } from './families.ts';

export interface Draft {
  readonly typed: TypedGraph;
  readonly decisions: Decisions;
  /** Of nodes with products in their subgraphs: what is planned of them, or why nothing. */
  readonly controls: ReadonlyMap<GraphNode, ControlDraft | string>;
  /** Bodies of all of these, even if they are not planned. */
  readonly bodies: ReadonlyMap<GraphNode, DraftedBodies>;
  /** Outputs that no node makes. They are not among the graph's. */
  readonly passed: ReadonlyMap<string, Passed>;
  /** For a body: outputs that are the same value as another output. They are not among the graph's either. */
  readonly same: ReadonlyMap<string, string>;
  /** Absent if the model cannot be cut. */
  readonly sides: Sides | undefined;
  /** Why ONNX Runtime runs all of it; `undefined` if MSD takes a part. */
  readonly reason: string | undefined;
  /** True if it cannot be cut at all. */
  readonly isRefused: boolean;
  /** The branches that were taken. */
  readonly taken: readonly string[];
}

export interface Drafting extends MatchOptions {
  /** Everything that MSD has is taken. */
  readonly all: boolean;
  /** What only some models need. */
  readonly parts: Pick<Parts, 'control' | 'foldConstants' | 'prepared' | 'selectEarly'>;
  /**
   * For a body of control flow: how many bodies are around it, and which of its units would be planned again for every
   * pass.
   */
  readonly body?: { readonly depth: number; varies(typed: TypedGraph): (unit: Unit) => boolean };
}

export function draftOf({ record: read, graph: built, taken, bodies }: Variant, drafting: Drafting): Draft {
  const { all, body } = drafting;
  const { control, foldConstants, prepared, selectEarly } = drafting.parts;
  const controls = new Map<GraphNode, ControlDraft | string>();
  const drafted = new Map<GraphNode, DraftedBodies>();
  const typedOf = (graph: Graph): TypedGraph => {
    controls.clear();
    drafted.clear();
    return inferTypes(foldConstants?.(graph) ?? graph, (node, around, infos, symbols) => {
      if (!control || !bodies?.holds(node, mayMultiply)) return undefined;
      const found = control.draft({ node, graph: around, infos, symbols, bodies, drafting, draftAll });
      if (found) controls.set(node, found.control);
      if (found?.drafted) drafted.set(node, found.drafted);
      return found?.results;
    });
  };
  const direct = directOutputs(read, built);
  const { record, typed: first } = prepared?.(direct, typedOf) ?? { ...direct, typed: typedOf(direct.graph) };
  let typed = first;
  const { contradiction } = typed;
  const early = selectEarly?.(record, typed) ?? typed.graph;
  if (early !== typed.graph) typed = typedOf(early);
  const passed = passedOutputs(typed.graph);
  const same = body ? sameOutputs(withoutOutputs(typed.graph, passed)) : new Map<string, string>();
  typed = { ...typed, graph: withoutOutputs(typed.graph, new Map<string, unknown>([...passed, ...same])) };
  const { graph } = typed;
  const decisions = matchNodes(typed, drafting);
  const needed = neededNodes(graph);
  const known = { typed, decisions, controls, bodies: drafted, passed, same, taken };
  const refusal = contradiction ?? refusalOf(typed, needed, controls, body !== undefined);
  if (refusal !== undefined) return { ...known, sides: undefined, reason: refusal, isRefused: true };
  const matches = new Map<GraphNode, Match>();
  for (const [node, decision] of decisions) if (typeof decision === 'object') matches.set(node, decision);
  const planned = new Map(
    [...controls].filter((each): each is [GraphNode, ControlDraft] => typeof each[1] === 'object'),
  );
  const units = unitsOf(graph, matches, planned);
  const reason = wholeReason(needed, decisions, controls, all);
  const varies = body?.varies(typed);
  const pricing = { all, isBody: body !== undefined, varies };
  const sides = reason === undefined ? chooseSides(typed, units, pricing) : undefined;
  const isForeign = reason !== undefined || sides!.whole !== undefined;
  return {
    ...known,
    sides: isForeign ? allForeign(typed, units, body !== undefined) : sides,
    reason: reason ?? sides!.whole,
    isRefused: false,
  };
}

/** May an operator multiply with weights of the file? Then a branch that contains it is worth planning. */
export const mayMultiply = ({ opType }: NodeRecord): boolean => /MatMul|Gemm|Conv|Attention|MoE|LSTM|GRU/.test(opType);

/** The drafts of a model: one for each way through its branches, or a single one if MSD takes nothing in them. */
export function draftVariants(branches: Pick<Branches, 'planned' | 'whole'>, planned: Variants, drafting: Drafting) {
  let variants = planned;
  let drafts = variants.all.map((variant) => draftOf(variant, drafting));
  if (variants.all.some(({ taken }) => taken.length > 0) && !drafts.some(hasProductInside)) {
    variants = branches.whole();
    drafts = variants.all.map((variant) => draftOf(variant, drafting));
  }
  return { drafts, choice: variants.choice, reason: wholeOf(drafts) };
}

const draftAll = (branches: Branches, drafting: Drafting): Drafted =>
  draftVariants(branches, branches.planned(mayMultiply), drafting);

/** Is there a product in a branch? */
function hasProductInside({ decisions, controls }: Draft): boolean {
  for (const [{ inside }, control] of controls) if (typeof control === 'object' && inside !== undefined) return true;
  for (const decision of new Set(decisions.values()))
    if (typeof decision === 'object' && decision.product && decision.nodes.some(({ inside }) => inside !== undefined))
      return true;
  return false;
}

/** Why the model is better left whole: one way through it cannot be cut, or MSD takes nothing on any. */
export function wholeOf(drafts: readonly Draft[]): string | undefined {
  const refused = drafts.find(({ isRefused }) => isRefused);
  if (refused) return refused.reason;
  return drafts.every(({ reason }) => reason !== undefined) ? drafts[0]!.reason : undefined;
}
