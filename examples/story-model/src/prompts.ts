/** Openings of stories the model continues well, in fp32 and in int4; evaluate.ts checks their margins. */
export const PROMPTS: readonly string[] = [
  'Once upon a time, there was a brave little fox named Ruby. Ruby lived on a windy island.',
  'Once upon a time, a shy rabbit named Finn lived in a quiet garden.',
  'Long ago, in an old castle, there lived a curious mouse named Luna.',
  'Once upon a time, there was a cheerful little girl named Rosie. Rosie lived on a big farm.',
  'By a deep lake lived a clever little frog named Oscar.',
];
