/** The command line: one line per command, whose module is imported when it runs. */
import { Command, type CommanderError, Option } from 'commander';
import { UsageError } from './shared/errors.ts';

/** What a module in commands/ exports: it adds arguments, options and an action. */
interface CommandModule {
  define(command: Command): void;
}

interface Entry {
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

const COMMANDS: Readonly<Record<string, Entry>> = {
  inspect: {
    summary: 'Says what MSD does with a model, how fast, and in how much memory, before it is downloaded',
    load: () => import('./commands/inspect.ts'),
  },
  run: {
    summary: 'Runs a model here: writes text with a decoder, embeds or classifies with an encoder',
    load: () => import('./commands/run.ts'),
  },
  bench: {
    summary: "Measures this machine's peaks, and how close to them layers of language models come",
    load: () => import('./commands/bench.ts'),
  },
  quantize: {
    summary: 'Turns the float weights of a model into integers of 8, 4 or 2 bits',
    load: () => import('./commands/quantize.ts'),
  },
  rewrite: {
    summary: 'Writes quantized matrix multiplications in other operators, for engines outside of the browser',
    load: () => import('./commands/rewrite.ts'),
  },
  verify: {
    summary: 'Compares a quantized model with the same weights and float activations, layer by layer',
    load: () => import('./commands/verify.ts'),
  },
  paper: {
    summary: 'Checks the claims of the paper behind MSD, by simulation',
    load: () => import('./commands/paper.ts'),
  },
};

/** Throws what commander would print and exit with. */
function strict(command: Command): Command {
  return command
    .exitOverride((error) => {
      throw asUsageError(error, command);
    })
    .configureOutput({ writeErr: () => {} })
    .showSuggestionAfterError(true)
    .allowExcessArguments(false);
}

/** Help and version are no errors. */
function asUsageError(error: CommanderError, command: Command): Error {
  if (error.exitCode === 0) return error;
  const name = [command.parent?.name(), command.name()].filter((each) => each !== undefined).join(' ');
  const said = error.message.replace(/^error: /, '').replace(/\n\(Did you mean (.*)\?\)$/s, '; did you mean $1?');
  const sentence = `${said.charAt(0).toUpperCase()}${said.slice(1)}`;
  return new UsageError(`${sentence}${/[.?!]$/.test(sentence) ? '' : '.'} See: ${name} --help`);
}

/**
 * The whole command line, ready to parse.
 *
 * @param args those of the user: only the module of the command among them is imported
 */
export async function program(args: readonly string[], version: string): Promise<Command> {
  const root = strict(new Command('msd'))
    .description('Looks into ONNX models, quantizes, checks, rewrites and runs them.')
    .version(version, '-V, --version');
  for (const [name, { summary, load }] of Object.entries(COMMANDS)) {
    const command = strict(root.command(name)).summary(summary).description(`${summary}.`);
    if (!args.includes(name)) continue;
    (await load()).define(command);
    command.addOption(new Option('--json', 'print one JSON document instead of text'));
  }
  return root;
}
