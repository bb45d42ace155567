/** Openings of stories whose greedy continuation is sure of every token, also in int4; evaluate.ts prints the margins. */
export const PROMPTS: readonly string[] = [
  'Once upon a time, there was a cheerful little squirrel named Daisy. Daisy lived on a windy island.',
  'Long ago, in a dark forest, there lived a curious fox named Lily.',
  'Long ago, in a lovely garden, there lived a gentle mouse named Nora.',
  'In an old castle lived a cheerful little boy named Tom.',
  'By a small harbour lived a clever little fox named Ruby.',
];
