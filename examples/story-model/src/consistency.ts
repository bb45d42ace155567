/**
 * Does a story stay true to its opening? Decided with the word tables of the grammar.
 *
 * The first hero name and the first place noun of the story are its hero and its place; both must come within the first
 * OPENING_WORDS words (every opening of the grammar names both). Then
 * - hero: no other hero name occurs, and the hero is named again after the opening;
 * - place: no other place noun occurs (the grammar uses place nouns for the hero's home only; roads and hiding places
 *   come from another list);
 * - kind, trait, thing, helper: no other one than the first occurs;
 * - colour: no other colour stands before the thing;
 * - pronouns: only one of "she/her" and "he/him/his" occurs (the grammar uses pronouns for the hero only).
 *
 * This is a check of words, not of sense: a story can pass and still be odd, for example when a food changes.
 */
import { COLOURS, HELPER_NOUNS, HERO_NAMES, KIND_NOUNS, PLACE_NOUNS, THING_NOUNS, TRAITS } from './corpus.ts';
import { splitWords } from './words.ts';

const OPENING_WORDS = 30;
const SHE_WORDS = ['she', 'her', 'She', 'Her'];
const HE_WORDS = ['he', 'him', 'his', 'He', 'His'];

export const FACTS = ['hero', 'place', 'kind', 'trait', 'thing', 'colour', 'helper', 'pronouns'] as const;

export type Consistency = Readonly<Record<(typeof FACTS)[number], boolean>>;

export function checkConsistency(story: string): Consistency {
  const words = splitWords(story);
  const opening = words.slice(0, OPENING_WORDS);
  const thingColours = words.filter((word, i) => COLOURS.includes(word) && THING_NOUNS.includes(words[i + 1] ?? ''));
  const onlyOne = (found: readonly string[]): boolean => new Set(found).size === 1;
  const only = (table: readonly string[]): boolean => onlyOne(words.filter((word) => table.includes(word)));
  const opens = (table: readonly string[]): boolean => opening.some((word) => table.includes(word));
  const uses = (table: readonly string[]): boolean => words.some((word) => table.includes(word));
  const namedAgain = words.slice(OPENING_WORDS).some((word) => HERO_NAMES.includes(word));
  return {
    hero: opens(HERO_NAMES) && only(HERO_NAMES) && namedAgain,
    place: opens(PLACE_NOUNS) && only(PLACE_NOUNS),
    kind: only(KIND_NOUNS),
    trait: only(TRAITS),
    thing: only(THING_NOUNS),
    colour: onlyOne(thingColours),
    helper: only(HELPER_NOUNS),
    pronouns: uses(SHE_WORDS) !== uses(HE_WORDS),
  };
}
