/** Chromium as an engine: a job in a cross-origin isolated page of its own browser. */
import { chromium } from 'playwright';
import { preview } from 'vite';
import { buildForBrowser } from './build.ts';
import type { Job, Result } from './jobs.ts';

const ISOLATED = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
/** The first is needed as root; the rest keep an offline machine quiet. */
const ARGS = ['--no-sandbox', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

let built: Promise<string> | undefined;

export async function runInChromium(executablePath: string, flags: readonly string[], job: Job): Promise<Result> {
  const outDir = await (built ??= buildForBrowser());
  const server = await preview({
    configFile: false,
    logLevel: 'silent',
    build: { outDir },
    preview: { port: 0, host: '127.0.0.1', headers: ISOLATED },
  });
  const browser = await chromium.launch({ executablePath, args: [...ARGS, ...flags] });
  try {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(error.message));
    await page.goto(new URL('page.html', server.resolvedUrls?.local[0]).href);
    await page.waitForFunction('crossOriginIsolated && globalThis.runJob').catch((cause: unknown) => {
      throw new Error(`the page did not load: ${errors.join('; ')}`, { cause });
    });
    return await page.evaluate((given) => (globalThis as unknown as Page).runJob(given), job);
  } finally {
    await browser.close();
    await server.close();
  }
}

interface Page {
  runJob(job: Job): Promise<Result>;
}
