/** The command line: one line per command, whose module is imported when it runs. */
import { Command } from 'commander';

/** The whole command line, ready to parse. */
export function program(): Command {
  return new Command('msd').description('Looks into ONNX models, quantizes, checks, rewrites and runs them.');
}
