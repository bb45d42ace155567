/** What a command can end with. */

/** The exit codes of `msd`. */
export const EXIT = {
  done: 0,
  /** What was asked for could not be done, or does not hold. */
  failed: 1,
  /** The command line itself is wrong. */
  usage: 2,
  /** Ctrl-C: 128 + SIGINT. */
  interrupted: 130,
} as const;

/** Something that the user can put right: shown as one sentence, without a stack. */
export class UserError extends Error {
  override readonly name: string = 'UserError';
  readonly exitCode: number = EXIT.failed;
}

/** An option or an argument that cannot be. */
export class UsageError extends UserError {
  override readonly name = 'UsageError';
  override readonly exitCode = EXIT.usage;
}

/** Ctrl-C, or the end of a terminal. */
export class Interrupted extends UserError {
  override readonly name = 'Interrupted';
  override readonly exitCode = EXIT.interrupted;

  constructor() {
    super('Stopped. Nothing was left behind.');
  }
}

/** What an error says, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
