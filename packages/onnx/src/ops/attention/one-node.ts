/** What matches of attention in one node share. */
import type { Match, Matcher } from '../../passes/matcher.ts';
import type { CacheRef } from '../lowering.ts';
import type { NodeView } from '../operator.ts';

/** A match of one node. Operands that are `late` or in a cache come with the others in `inputs`. */
export function attentionMatch(
  { node }: NodeView,
  matcher: Matcher,
  parts: Pick<Match, 'inputs' | 'outputs' | 'late' | 'caches' | 'scores' | 'lower'>,
): Match {
  const { late = [], inputs } = parts;
  const resources = matcher.constants(inputs.filter((name) => name !== '' && !late.includes(name)));
  return { op: 'attention', place: 'device', nodes: [node], resources, ...parts };
}

/** The cache of a node with a past; `undefined` without. */
export function cacheOf(past: CacheRef['past'], present: CacheRef['present']): CacheRef | undefined {
  return past.key === '' ? undefined : { past, present };
}

/** Names in a cache. */
export function namesOf({ past, present }: CacheRef): string[] {
  return [past.key, past.value, present.key, present.value].filter((name) => name !== '');
}
