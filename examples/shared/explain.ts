/** Turns what libraries throw into a sentence that says what to do. */

const HINTS: readonly [pattern: RegExp, hint: string][] = [
  [/could not locate file|not found locally/i, 'The model has no such file: choose other weights, or check its name.'],
  [/unauthorized|forbidden|gated/i, 'There is no such model on the hub, or it asks for a login: check its name.'],
  [/failed to fetch|networkerror|load failed/i, 'Nothing could be downloaded: is this computer online?'],
  [
    /out of memory|memory access|allocation failed|bad_alloc/i,
    'The model needs more memory than a tab gets: choose a smaller one, or q4 weights.',
  ],
  [/unsupported model type/i, 'Transformers.js does not run this kind of model for this task.'],
  [
    /protobuf parsing failed|no graph was found/i,
    'The model’s file is damaged or incomplete: download or export it again.',
  ],
  [/^tokenizer must contain/i, 'The file tokenizer.json is damaged: download or export it again.'],
];

/** One line: the message, and the hint that fits. */
export function explain(error: unknown): string {
  const message = (error instanceof Error ? error.message : String(error)).trim();
  const hint = HINTS.find(([pattern]) => pattern.test(message))?.[1];
  if (!hint || message.includes(hint)) return message;
  return `${message}${/[.!?]$/.test(message) ? '' : '.'} ${hint}`;
}
