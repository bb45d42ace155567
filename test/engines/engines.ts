/** The engines whose results are compared. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { findChromium } from '../../scripts/find-chromium.mjs';
import { findFirefox, findWebKit, openFirefox, openWebKit, WITH_THREADS } from '../../scripts/webdriver.mjs';
import { openChromium, runInBrowser } from './browser.ts';
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
  /** Without cross-origin isolation there is one thread. */
  readonly hasThreads?: boolean;
  /** Runs where it is asked for by name, and in the long tier. */
  readonly onRequest?: boolean;
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
    name: 'firefox',
    about: 'SpiderMonkey, a cross-origin isolated page; relaxed SIMD since 145',
    relaxedSimd: true,
    onRequest: true,
    run: inFirefox(),
  },
  {
    name: 'firefox-alone',
    onRequest: true,
    about: 'the same without isolation and relaxed SIMD',
    ...VARIANT,
    relaxedSimd: false,
    hasThreads: false,
    run: inFirefox({ isolated: false, prefs: { 'javascript.options.wasm_relaxed_simd': false } }),
  },
  {
    name: 'webkit',
    onRequest: true,
    about: 'JavaScriptCore, a cross-origin isolated page; it has no relaxed dot',
    relaxedSimd: false,
    run: inWebKit({ settings: WITH_THREADS }),
  },
  {
    name: 'webkit-alone',
    onRequest: true,
    about: 'the same without isolation',
    ...VARIANT,
    relaxedSimd: false,
    hasThreads: false,
    run: inWebKit({ isolated: false }),
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
    if (!executable) return { unavailable: 'no Chrome or Chromium was found' };
    return runInBrowser(() => openChromium(executable, flags), true, job);
  };
}

function inFirefox({ isolated = true, prefs = {} } = {}): Engine['run'] {
  return async (job) => {
    const executable = findFirefox();
    if (!executable) return { unavailable: 'no Firefox was found (Debian: apt-get install firefox-esr)' };
    return runInBrowser(() => openFirefox(executable, prefs), isolated, job);
  };
}

function inWebKit({ isolated = true, settings = {} } = {}): Engine['run'] {
  return async (job) => {
    const executable = findWebKit();
    if (!executable)
      return { unavailable: 'no WebKitWebDriver was found (Debian: apt-get install webkit2gtk-driver xvfb)' };
    return runInBrowser(() => openWebKit(executable, settings), isolated, job);
  };
}
