/** Where a trace runs, each time from the beginning: a Node process, or a page that is isolated or not. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright';
import { createServer } from 'vite';
import { findChromium } from '../../../scripts/find-chromium.mjs';
import { findFirefox, findWebKit, openFirefox, openWebKit } from '../../../scripts/webdriver.mjs';
import type { Clock } from '../measure.ts';
import type { Trace, TraceRequest } from './trace.ts';

export const USUAL_PLACES = ['node', 'chromium', 'chromium-not-isolated'] as const;
const OTHERS = ['firefox', 'firefox-not-isolated', 'webkit', 'webkit-not-isolated'] as const;
export const PLACES = [...USUAL_PLACES, ...OTHERS] as const;
export type Place = (typeof PLACES)[number];

/** A place that is open: its browser and its server stay, every trace has a process or a page of its own. */
export interface OpenPlace {
  trace(request: TraceRequest): Promise<Trace>;
  close(): Promise<void>;
}

/** @param rate MB/s of the server that pages download from; absent: as fast as it can */
export async function openPlace(place: Place, model: string, clock: Clock, rate?: number): Promise<OpenPlace> {
  if (place === 'node') return inNode(model, clock);
  const isIsolated = !place.endsWith('-not-isolated');
  const traceIn = place.startsWith('chromium') ? await inChromium() : inOther(place);
  return inPage(model, isIsolated, rate, traceIn);
}

function inNode(model: string, clock: Clock): OpenPlace {
  const script = fileURLToPath(new URL('./node.ts', import.meta.url));
  return {
    trace: async (request) => {
      const args = ['--no-warnings', script, model, JSON.stringify(request), clock];
      const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      if (status !== 0) throw new Error(`first-tokens: the Node process failed.\n${stderr}`);
      return JSON.parse(stdout.trim().split('\n').at(-1)!) as Trace;
    },
    close: async () => {},
  };
}

/** Milliseconds between two parts of a file that is sent slowly. */
const PART_MS = 20;

function send(response: ServerResponse, bytes: Uint8Array, rate: number | undefined): void {
  if (!rate) return void response.end(bytes);
  response.setHeader('Content-Length', bytes.length);
  const length = Math.ceil(rate * 1000 * PART_MS);
  let at = 0;
  const timer = setInterval(() => {
    response.write(bytes.subarray(at, at + length));
    at += length;
    if (at < bytes.length) return;
    clearInterval(timer);
    response.end();
  }, PART_MS);
}

/** Opens a page in a process of its own, has it evaluate an expression that gives a promise, and closes it. */
interface PageRunner {
  run(url: string, expression: string): Promise<unknown>;
  close(): Promise<void>;
}

async function inPage(
  model: string,
  isIsolated: boolean,
  rate: number | undefined,
  runner: PageRunner,
): Promise<OpenPlace> {
  const headers = isIsolated
    ? { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }
    : {};
  const server = await createServer({
    root: fileURLToPath(new URL('../../..', import.meta.url)),
    configFile: false,
    logLevel: 'error',
    optimizeDeps: { noDiscovery: true },
    plugins: [
      {
        name: 'model',
        configureServer: ({ middlewares }) => {
          middlewares.use('/model.onnx', (_, response) => send(response, readFileSync(model), rate));
        },
      },
    ],
    server: { hmr: false, watch: null, headers },
  });
  await server.listen();
  const url = `${server.resolvedUrls!.local[0]}test/bench/first-tokens/page.html`;
  return {
    trace: async (request) => (await runner.run(url, tracing(isIsolated, request))) as Trace,
    close: async () => {
      await runner.close();
      await server.close();
    },
  };
}

/** Runs in the page, once page.ts has left there what it calls. */
const tracing = (isIsolated: boolean, request: TraceRequest) => `(async () => {
  for (const end = Date.now() + 60_000; !globalThis.page$ && Date.now() < end; )
    await new Promise((resolve) => setTimeout(resolve, 20));
  if (crossOriginIsolated !== ${isIsolated}) throw new Error('the page is isolated, or is not, against the plan');
  return page$.traceModel('/model.onnx', ${JSON.stringify(request)});
})()`;

async function inChromium(): Promise<PageRunner> {
  const executablePath = findChromium();
  if (!executablePath) throw new Error('bench: no Chromium found. Set MSD_CHROMIUM, or say --in node.');
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-background-networking'] });
  return {
    run: async (url, expression) => {
      // A context of its own has a process of its own: what the engine has compiled before is not there.
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(url, { waitUntil: 'load' });
      const result = await page.evaluate(expression);
      await context.close();
      return result;
    },
    close: () => browser.close(),
  };
}

/** A browser of its own for every trace. */
function inOther(place: Place): PageRunner {
  const isFirefox = place.startsWith('firefox');
  const executable = isFirefox ? findFirefox() : findWebKit();
  if (!executable) throw new Error(`bench: ${place} was not found. Leave it out of --in.`);
  return {
    run: async (url, expression) => {
      const browser = await (isFirefox ? openFirefox : openWebKit)(executable);
      try {
        const tab = await browser.newTab();
        await tab.goto(url);
        return await tab.evaluate(expression);
      } finally {
        await browser.close();
      }
    },
    close: async () => {},
  };
}
