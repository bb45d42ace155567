/** Starts what a request runs in: a Node process, or a cross-origin isolated page of a headless Chromium. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release as osRelease, tmpdir, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium, type Page } from 'playwright';
import { createServer } from 'vite';
import { findChromium } from '../../scripts/find-chromium.mjs';
import type { PageMemory, PageRequest, PageResult } from './page.ts';
import type { Request, SuiteResult } from './request.ts';
import type { EnvironmentResult, Machine, MemoryResult } from './results.ts';
import { DECODE_ROWS, PREFILL_ROWS } from './shapes.ts';

/** What page.ts leaves in the page's global scope; the functions given to `evaluate` run there. */
declare const page$: {
  runRequest(request: PageRequest): Promise<PageResult>;
  measureMemory(request: PageRequest, id: string, M: number): Promise<PageMemory | undefined>;
  variantIds(request: PageRequest): Promise<string[]>;
};

export interface Environment {
  readonly platform: 'node' | 'chromium';
  /** V8 options, `--no-enable-avx-vnni`. */
  readonly flags: readonly string[];
}

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../..');

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    os: `${type()} ${osRelease()}`,
  };
}

/** Runs a request to its end. Progress goes to the console. */
export async function runEnvironment(environment: Environment, request: Request): Promise<EnvironmentResult> {
  const { platform, flags } = environment;
  const [load] = loadavg();
  const date = new Date().toISOString();
  const result = platform === 'node' ? await runNode(flags, request) : await runPage(flags, request);
  const { threads, rounds, sampleMs } = request;
  const machine = describeMachine();
  return { platform, threads, flags, date, machine, load: Number(load!.toFixed(2)), rounds, sampleMs, ...result };
}

type Result = SuiteResult & Pick<EnvironmentResult, 'absent' | 'wholeModels' | 'memory'>;

async function runNode(flags: readonly string[], request: Request): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'msd-bench-'));
  const [requestFile, resultFile] = [join(folder, 'request.json'), join(folder, 'result.json')];
  writeFileSync(requestFile, JSON.stringify(request));
  const args = [...flags, join(here, 'node.ts'), requestFile, resultFile];
  const code = await new Promise((resolve) => spawn(process.execPath, args, { stdio: 'inherit' }).on('close', resolve));
  if (code !== 0) throw new Error(`bench: the Node process ended with ${code}.`);
  const result = JSON.parse(readFileSync(resultFile, 'utf8'));
  rmSync(folder, { recursive: true });
  return { wholeModels: [], memory: [], ...result };
}

function packageVersions(): Record<string, string> {
  const version = (from: string, name: string): string => {
    const folder = join(from, 'node_modules', name, 'package.json');
    return (JSON.parse(readFileSync(folder, 'utf8')) as { version: string }).version;
  };
  const peers = join(here, 'peers');
  return {
    msd: version(join(root, 'test'), '@msd/core'),
    litert: version(peers, '@litertjs/core'),
    llama: `wllama ${version(peers, '@wllama/wllama')}`,
  };
}

async function withPage<T>(
  flags: readonly string[],
  use: (open: () => Promise<Page>, version: string) => Promise<T>,
): Promise<T> {
  const executablePath = findChromium();
  if (!executablePath)
    throw new Error('bench: no Chromium found. Set MSD_CHROMIUM, or leave chromium out with --in node.');
  const server = await createServer({
    root,
    configFile: false,
    logLevel: 'error',
    optimizeDeps: { noDiscovery: true },
    server: {
      hmr: false,
      watch: null,
      headers: { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' },
    },
  });
  await server.listen();
  const browser = await chromium.launch({
    executablePath,
    args: [
      '--no-sandbox',
      '--disable-background-networking',
      ...(flags.length ? [`--js-flags=${flags.join(' ')}`] : []),
    ],
  });
  try {
    const open = async () => {
      const page = await browser.newPage();
      page.on('console', (message) => {
        if (message.text().startsWith('  ')) console.log(message.text());
      });
      await page.goto(`${server.resolvedUrls!.local[0]}test/bench/page.html`, { waitUntil: 'load' });
      await page.waitForFunction('globalThis.page$ !== undefined && globalThis.crossOriginIsolated');
      return page;
    };
    return await use(open, browser.version());
  } finally {
    await browser.close();
    await server.close();
  }
}

const runPage = (flags: readonly string[], request: Request): Promise<Result> =>
  withPage(flags, async (open, version) => {
    const pageRequest: PageRequest = { ...request, packageVersions: packageVersions() };
    const page = await open();
    const result = await page.evaluate((value) => page$.runRequest(value), pageRequest);
    await page.close();
    const memory = request.sections.includes('memory') ? await measureMemory(open, pageRequest) : [];
    return { ...result, memory, versions: { ...packageVersions(), ...result.versions, chromium: version } };
  });

/** Each engine and format with M = 1 and M = 128, every time in a page of its own. */
async function measureMemory(open: () => Promise<Page>, request: PageRequest): Promise<MemoryResult[]> {
  const results: MemoryResult[] = [];
  for (const engine of request.engines) {
    const alone = { ...request, engines: [engine] };
    const first = await open();
    const ids = await first.evaluate((value) => page$.variantIds(value), alone);
    await first.close();
    for (const id of ids) {
      console.log(`  memory: ${id}`);
      const measure = async (M: number): Promise<PageMemory | undefined> => {
        const page = await open();
        const memory = await page
          .evaluate(([value, name, rows]) => page$.measureMemory(value, name, rows), [alone, id, M] as const)
          .catch((error: Error) => void console.log(`  memory: ${id}: ${error.message}`));
        await page.close();
        return memory ?? undefined;
      };
      const [decode, prefill] = [await measure(DECODE_ROWS), await measure(PREFILL_ROWS)];
      if (!decode || !prefill) continue;
      const { label, start, afterLoad, afterRun } = decode;
      results.push({ label, start, loaded: afterLoad, afterDecode: afterRun, afterPrefill: prefill.afterRun });
    }
  }
  return results;
}
