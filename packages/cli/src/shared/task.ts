/** What every command gets: where to print, how to say how far it is, what to undo. */
import type { Command } from 'commander';
import { Undo } from './interrupt.ts';
import { Output } from './output.ts';
import { Progress } from './progress.ts';

/** A command at work. */
export interface Task {
  readonly out: Output;
  readonly progress: Progress;
  readonly undo: Undo;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** May it ask? Only where a person sits at a terminal. */
  readonly canAsk: boolean;
}

let running: Task | undefined;

/** The command that runs, for whoever ends the process. */
export function runningTask(): Task | undefined {
  return running;
}

/**
 * An action for commander.
 *
 * @example
 * ```ts
 * export function define(command: Command): void {
 *   command.argument('<model>', 'a file, …').action(task(async ({ out, progress }, model: string, options: Options) => …));
 * }
 * ```
 */
export function task<Args extends unknown[]>(work: (task: Task, ...args: Args) => Promise<void>) {
  return async (...args: [...Args, Command]): Promise<void> => {
    const command = args.pop() as Command;
    const out = new Output(command.opts().json === true);
    const undo = new Undo();
    const progress = new Progress(out.stderr);
    const canAsk = !out.isJson && process.stdin.isTTY === true && process.stderr.isTTY === true;
    running = { out, progress, undo, signal: undo.signal, canAsk };
    await work(running, ...(args as unknown as Args));
    progress.clear();
  };
}
