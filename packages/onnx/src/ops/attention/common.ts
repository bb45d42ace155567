/** What the matches of attention share. */
import type { Info, Size, Symbols } from '../../ir/info.ts';
import type { Match, Matcher } from '../../passes/matcher.ts';

/** The first operand that is there and is neither f32 nor float16, which is f32 while attention has it. */
export function notFloats(matcher: Matcher, operands: Readonly<Record<string, string>>): string | undefined {
  for (const [what, name] of Object.entries(operands)) {
    const refused = name === '' ? undefined : matcher.notFloat(what, name);
    if (refused !== undefined) return refused;
  }
  return undefined;
}

/**
 * Sizes of `present`: those of `past`, more positions.
 *
 * @param size of a head, where it is known: some files leave the last size of `past` open
 */
export function presentOf({ elemType, dims }: Info, symbols: Symbols, size?: number): Info {
  const isOpen = size !== undefined && typeof dims?.[3] === 'string';
  const positions = symbols.fresh(dims);
  return { elemType, dims: isOpen ? dims.toSpliced(2, 2, positions, size) : dims?.toSpliced(2, 1, positions) };
}

/**
 * For the price: heads that are not known are taken for 12, their sizes for 64.
 *
 * @param q [batch, rows, …]
 * @param width of a head's query and value together. Default: twice what a head has of `q`
 */
export function scoresOfSizes(
  q: readonly Size[] | undefined,
  keys: Size | undefined,
  heads: number,
  width?: Size,
  kvHeads?: number,
): NonNullable<Match['scores']> {
  const [batch = 1, rows = 1, hidden] = q ?? [];
  const own = width ?? (typeof hidden === 'number' && heads > 0 ? (2 * hidden) / heads : undefined);
  return { dims: [batch, heads || 12, rows, keys ?? rows], width: typeof own === 'number' ? own : 128, kvHeads };
}
