/** Browsers as engines: a job in a page of a browser of its own. */
import { chromium } from 'playwright';
import { preview } from 'vite';
import { BROWSER_PATIENCE_MS } from '../../scripts/find-chromium.mjs';
import { buildForBrowser } from './build.ts';
import type { Job, Result } from './jobs.ts';

const ISOLATED = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
/** The first is needed as root; the rest keep an offline machine quiet. */
const ARGS = ['--no-sandbox', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

let built: Promise<string> | undefined;

/** What a started browser offers here, whichever library or protocol drives it. */
export interface EngineBrowser {
  readonly version: string;
  newTab(): Promise<EngineTab>;
  close(): Promise<void>;
}

export interface EngineTab {
  goto(url: string): Promise<unknown>;
  /** Value of an expression, or of the promise that it gives; what JSON can hold. */
  evaluate(expression: string): Promise<unknown>;
}

/** @param isolated has the page threads, that is to say is it cross-origin isolated? */
export async function runInBrowser(open: () => Promise<EngineBrowser>, isolated: boolean, job: Job): Promise<Result> {
  const outDir = await (built ??= buildForBrowser());
  const server = await preview({
    configFile: false,
    logLevel: 'silent',
    build: { outDir },
    preview: { port: 0, host: '127.0.0.1', headers: isolated ? ISOLATED : {} },
  });
  const browser = await open();
  try {
    const tab = await browser.newTab();
    await tab.goto(new URL('page.html', server.resolvedUrls?.local[0]).href);
    const loaded = await tab.evaluate('globalThis.loaded');
    if (loaded !== true) throw new Error(`the page did not load: ${JSON.stringify(loaded)}`);
    const result = (await tab.evaluate(`runJob(${JSON.stringify(job)})`)) as Result;
    return { ...result, engine: browser.version };
  } finally {
    await browser.close();
    await server.close();
  }
}

export async function openChromium(executablePath: string, flags: readonly string[]): Promise<EngineBrowser> {
  const browser = await chromium.launch({ executablePath, args: [...ARGS, ...flags], timeout: BROWSER_PATIENCE_MS });
  return {
    version: `chromium ${browser.version()}`,
    newTab: async () => {
      const page = await browser.newPage();
      page.setDefaultTimeout(BROWSER_PATIENCE_MS);
      return page;
    },
    close: () => browser.close(),
  };
}
