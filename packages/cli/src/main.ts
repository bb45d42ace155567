#!/usr/bin/env node
/** `msd COMMAND`: what this package is for people. Each command is one module in commands/, imported when it is asked for. */
import { program } from './program.ts';

await program().parseAsync();
