#!/usr/bin/env node
/** `msd COMMAND`: what this package is for people. Each command is one module in commands/, imported when it is asked for. */
import { styleText } from 'node:util';
import { CommanderError } from 'commander';
import { program } from './program.ts';
import { EXIT, Interrupted, messageOf, UserError } from './shared/errors.ts';
import { runningTask } from './shared/task.ts';
import { packageVersion } from './shared/version.ts';

/** One sentence, without a stack if the user can put it right; with `--json` as JSON on stdout, too. */
function report(error: unknown, isJson: boolean): number {
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
  const task = runningTask();
  task?.progress.clear();
  task?.undo.run();
  const exitCode = error instanceof UserError ? error.exitCode : EXIT.failed;
  const isTheirs = error instanceof UserError || isTyped(error);
  const text = isTheirs || !(error instanceof Error) ? messageOf(error) : (error.stack ?? error.message);
  if (isJson) {
    const name = error instanceof Error ? error.name : 'Error';
    process.stdout.write(`${JSON.stringify({ error: { name, message: messageOf(error), exitCode } }, undefined, 2)}\n`);
  } else process.stderr.write(`${styleText('red', text, { stream: process.stderr })}\n`);
  return exitCode;
}

/**
 * Errors of @msd/core and @msd/onnx: their messages say what was expected, what there was, and what to do. And the system's
 * ("EACCES: permission denied, open 'model.onnx'"): where in our code they came up helps nobody.
 */
function isTyped(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (typeof (error as NodeJS.ErrnoException).syscall === 'string') return true;
  if (error.message.includes('ERROR_MESSAGE: ')) return true; // ONNX Runtime's, about the model
  return !/^(Type|Reference|Syntax|Range|)Error$/.test(error.name) || / expected .* got /s.test(error.message);
}

let isEnding = false;

/** What is still in the pipe gets out before the process ends. The first end counts: what Ctrl-C broke fails later. */
function end(exitCode: () => number): void {
  if (isEnding) return;
  isEnding = true;
  finish(exitCode());
}

function finish(exitCode: number): void {
  process.exitCode = exitCode;
  // Threads and sockets of libraries may keep a process alive; nothing of a command is left to do.
  process.stdout.write('', (lost) => {
    // What did not get out is known here first: a full disk behind `msd … > FILE`.
    const code = lost ? sayLost(lost) : exitCode;
    process.stderr.write('', () => process.exit(code));
  });
}

/** A result that nobody can read is none. A reader that has seen enough, like `msd inspect … | head`, is no error. */
function sayLost({ code, message }: NodeJS.ErrnoException): number {
  if (code === 'EPIPE') return EXIT.done;
  const why = code === 'ENOSPC' ? 'no space left on the disk (ENOSPC). Free some, or let it go elsewhere' : message;
  process.stderr.write(`The output cannot be written: ${why}.\n`);
  return EXIT.failed;
}

const args = process.argv.slice(2);
const isJson = args.includes('--json');
const stop = (): void => {
  runningTask()?.undo.stop();
  end(() => report(new Interrupted(), isJson));
};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
// In the middle of a text; at its end `finish` hears of it first.
process.stdout.on('error', (error) => {
  runningTask()?.undo.run();
  process.exit(sayLost(error));
});

try {
  const root = await program(args, packageVersion());
  if (args.length === 0) root.outputHelp();
  else await root.parseAsync(args, { from: 'user' });
  end(() => EXIT.done);
} catch (error) {
  end(() => report(error, isJson));
}
