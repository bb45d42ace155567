/** Openings of stories whose greedy continuation is sure of every token, also in int4; evaluate.ts prints the margins. */
export const PROMPTS: readonly string[] = [
  'Long ago, by a small harbour, there lived a shy hedgehog named Hugo.',
  'In a lovely garden lived a brave little mouse named Nora.',
  'Once upon a time, there was a shy little bear named Ben. Ben lived in a sunny meadow.',
  'Once upon a time, a lively boy named Tom lived in a quiet village.',
  'By a deep lake lived a brave little fox named Lily.',
];
