/**
 * A model of 4 bits in which some matrices have 8: those that change what it says most for their size, up to a share of the bytes.
 */
import type { OpenModel } from '../edit/open-model.ts';
import type { Tried } from './damage.ts';
import { type Plan, type PlannedGroup, planGroup, withGroups } from './plan.ts';

/** What gets more bits. */
export interface MoreBits {
  readonly plan: Plan;
  readonly chosen: readonly ChosenForMore[];
}

export interface ChosenForMore {
  readonly name: string;
  /** Of what all matrices change with 4 bits each by itself, 0 to 1; `undefined`: it is the head, and nothing was measured. */
  readonly share: number | undefined;
  /** What it grows by. */
  readonly moreBytes: number;
}

const INT8 = { format: 'int8', blockSize: undefined, isAsymmetric: false } as const;

/** A matrix that does not change the text by so many times more than the others per byte stays as it is. */
const LEAST_RATIO = 2;

/** Which ones may get them: products with 4 bits that no rule names. */
export function candidatesOf(plan: Plan, isNamed: (names: readonly string[]) => boolean): PlannedGroup[] {
  return plan.groups.filter(
    ({ shape, targets, names }) =>
      shape.format === 'int4' &&
      !isNamed(names) &&
      targets.some(({ kind }) => kind === 'MatMul' || kind === 'Gemm') &&
      targets.every(({ kind }) => kind !== 'Conv'),
  );
}

/**
 * The most damage per byte first.
 *
 * @param share of all bytes that may be added
 */
export function moreBits(plan: Plan, tried: readonly Tried[], share: number): MoreBits {
  const kinds = tried
    .map(({ groups, damage }) => {
      const pairs = groups.flatMap((group) => {
        const larger = planGroup(group, INT8);
        return typeof larger === 'string' ? [] : [[group, larger] as const];
      });
      const bytes = pairs.reduce((sum, [before, after]) => sum + after.byteLength - before.byteLength, 0);
      return { pairs, damage, bytes, perByte: damage / bytes };
    })
    .filter(({ bytes }) => bytes > 0)
    .sort((a, b) => b.perByte - a.perByte);
  const all = kinds.reduce((sum, { damage }) => sum + damage, 0);
  let [damage, bytes] = [all, kinds.reduce((sum, kind) => sum + kind.bytes, 0)];
  let left = share * plan.byteLength;
  const by = new Map<PlannedGroup, PlannedGroup>();
  const chosen: ChosenForMore[] = [];
  for (const kind of kinds) {
    damage -= kind.damage;
    bytes -= kind.bytes;
    if (bytes === 0 || kind.perByte < (LEAST_RATIO * damage) / bytes) break;
    if (!(kind.damage > 0) || kind.bytes > left) continue;
    left -= kind.bytes;
    for (const [before, after] of kind.pairs) {
      by.set(before, after);
      const moreBytes = after.byteLength - before.byteLength;
      chosen.push({ name: before.matrix.held.name, share: kind.damage / all / kind.pairs.length, moreBytes });
    }
  }
  return { plan: replaced(plan, by), chosen };
}

/** Where nobody measured: the product that makes the logits, which every token goes through. */
export function headInMoreBits(
  model: OpenModel,
  plan: Plan,
  candidates: readonly PlannedGroup[],
  share: number,
): MoreBits {
  const head = headOf(model, candidates);
  const larger = head && planGroup(head, INT8);
  if (!head || !larger || typeof larger === 'string') return { plan, chosen: [] };
  const moreBytes = larger.byteLength - head.byteLength;
  if (moreBytes > share * plan.byteLength) return { plan, chosen: [] };
  return {
    plan: replaced(plan, new Map([[head, larger]])),
    chosen: [{ name: head.matrix.held.name, share: undefined, moreBytes }],
  };
}

const replaced = (plan: Plan, by: ReadonlyMap<PlannedGroup, PlannedGroup>): Plan =>
  withGroups(
    plan,
    plan.groups.map((group) => by.get(group) ?? group),
  );

/** What may lie between it and the model's output. */
const BEHIND = ['Cast', 'Mul', 'Div', 'Add', 'Tanh', 'Reshape', 'Identity'];

function headOf({ root }: OpenModel, candidates: readonly PlannedGroup[]): PlannedGroup | undefined {
  let name = 'logits';
  const seen = new Set<unknown>();
  for (;;) {
    const node = root.makers.get(name);
    // Files with circles can be written, too.
    if (!node || seen.has(node)) return undefined;
    seen.add(node);
    const found = candidates.find(({ targets }) => targets.some((target) => target.node === node));
    if (found || !BEHIND.includes(node.opType)) return found;
    name = node.inputs.find((input) => root.makers.has(input)) ?? '';
  }
}
