/** The engines whose results are compared. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { findChromium } from '../../scripts/find-chromium.mjs';
import { runInChromium } from './browser.ts';
import { buildForNode } from './build.ts';
import type { Job, Result } from './jobs.ts';
import { aarch64Command, type Command, NODE_20, NODE_22, NODE_24, nodeCommand, type Unavailable } from './nodes.ts';

/** Long enough for the emulator on a slow machine. */
const LIMIT_MS = 15 * 60_000;

export interface Engine {
  readonly name: string;
  /** What it has that others have not. */
  readonly about: string;
  /** Of the suite, all tests by default. */
  readonly only?: string;
  /** Without relaxed SIMD there is one carrier. */
  readonly relaxedSimd: boolean;
  /**
   * Does one job in a fresh process.
   *
   * @throws `Error` with the engine's own output when it dies
   */
  readonly run: (job: Job) => Promise<Result | Unavailable>;
}

/** Every kernel, the corners, the recorded bits, every op on the device. */
const CORE_OF_IT =
  'every kernel that|has kernels|conformance: wasm(, relaxed dot)? (is exact|confines|treats)|device: wasm computes|' +
  'recorded bits|^carriers';
/** For variants of an engine that has run the whole suite; the long tier runs it in each of them. */
const VARIANT = process.env.MSD_TEST_ALL === '1' ? {} : { only: `${CORE_OF_IT}|^elementwise functions` };

export const ENGINES: readonly Engine[] = [
  { name: 'node20', about: 'V8 11.3, no relaxed SIMD', relaxedSimd: false, run: inNode(() => nodeCommand(NODE_20)) },
  { name: 'node22', about: 'V8 12.4', relaxedSimd: true, run: inNode(() => nodeCommand(NODE_22)) },
  { name: 'node24', about: 'V8 13.6', ...VARIANT, relaxedSimd: true, run: inNode(() => nodeCommand(NODE_24)) },
  {
    name: 'node24-no-vnni',
    ...VARIANT,
    about: 'x86-64 before AVX-VNNI, where the relaxed dot saturates',
    relaxedSimd: true,
    run: inNode(() => x64Command('--no-enable-avx-vnni', '--no-enable-avx-vnni-int8')),
  },
  {
    name: 'node24-no-avx',
    ...VARIANT,
    about: 'x86-64 with SSE only',
    relaxedSimd: true,
    run: inNode(() => x64Command('--no-enable-avx')),
  },
  { name: 'chromium', about: 'a cross-origin isolated page', relaxedSimd: true, run: inChromium() },
  {
    name: 'chromium-no-vnni',
    ...VARIANT,
    about: 'the same without AVX-VNNI',
    relaxedSimd: true,
    run: inChromium('--js-flags=--no-enable-avx-vnni --no-enable-avx-vnni-int8'),
  },
  {
    name: 'aarch64',
    about: 'ARM, emulated on other machines; the relaxed dot is signed',
    relaxedSimd: true,
    only: CORE_OF_IT, // at a hundredth of the speed
    run: inNode(() => aarch64Command(NODE_24)),
  },
];

async function x64Command(...flags: string[]): Promise<Command> {
  return process.arch === 'x64' ? nodeCommand(NODE_24, flags) : { unavailable: `${flags[0]} is for x86-64` };
}

let bundle: Promise<string> | undefined;

function inNode(start: () => Promise<Command>): Engine['run'] {
  return async (job) => {
    const command = await start();
    if ('unavailable' in command) return command;
    const args = [...command.args, await (bundle ??= buildForNode()), JSON.stringify(job)];
    const env = { ...process.env, MSD_TEST_ALL: '' }; // the long tier is for one engine
    const { stdout } = await promisify(execFile)(command.file, args, { env, maxBuffer: 2 ** 26, timeout: LIMIT_MS });
    return JSON.parse(stdout.trimEnd().split('\n').at(-1) as string) as Result;
  };
}

function inChromium(...flags: string[]): Engine['run'] {
  return async (job) => {
    if (flags.length > 0 && process.arch !== 'x64') return { unavailable: `${flags[0]} is for x86-64` };
    const executable = findChromium();
    return executable ? runInChromium(executable, flags, job) : { unavailable: 'no Chrome or Chromium was found' };
  };
}
