/** Loads decoders in Chromium: pages that Vite built, from a server of this process, each in a process of its own. */
import { createReadStream, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium } from 'playwright';
import { build } from 'vite';
import { BROWSER_PATIENCE_MS, findChromium } from '../../../scripts/find-chromium.mjs';
import type { DecoderFiles } from '../models/decoder-files.ts';
import type { PageJob, PageSample } from './page.ts';

/** What page.ts leaves in the page's global scope; the function given to `evaluate` runs there. */
declare const page$: { loadModel(job: PageJob): Promise<PageSample> };

export const PAGE_FROMS = ['bytes', 'url'] as const;
export type PageSide = 'msd' | 'before' | 'pack';

export interface LoadPages {
  sample(by: PageSide, from: PageJob['from'], threads: number): Promise<PageSample>;
  close(): Promise<void>;
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
};

/** @param msd root of another built checkout, for `before` */
export async function openLoadPages(files: DecoderFiles, msd: string | undefined): Promise<LoadPages> {
  const executablePath = findChromium();
  if (!executablePath) throw new Error('bench: no Chromium found. Set MSD_CHROMIUM, or leave --in out.');
  const folder = mkdtempSync(join(tmpdir(), 'msd-load-pages-'));
  await buildPage(join(folder, 'own'), {});
  if (msd !== undefined)
    await buildPage(join(folder, 'before'), { '@msd/onnx/register': resolve(msd, 'packages/onnx/dist/register.js') });
  const server = createServer(({ url = '/' }, response) => {
    const [, place = '', ...rest] = new URL(url, 'http://page').pathname.split('/');
    const root = place === 'model' ? files.request.folder : join(folder, place);
    send(response, join(root, ...rest));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-background-networking'] });
  const job = { files: { files: files.files, matrices: files.matrices } };
  return {
    sample: (by, from, threads) =>
      sampleIn(browser, `${origin}/${by === 'before' ? 'before' : 'own'}/page.html`, {
        ...{ ...job, from, threads },
        by: by === 'pack' ? 'pack' : 'msd',
      }),
    async close() {
      await browser.close();
      server.close();
      rmSync(folder, { recursive: true });
    },
  };
}

async function sampleIn(browser: Browser, url: string, job: PageJob): Promise<PageSample> {
  // A context of its own has a process of its own: what the engine has compiled before is not there.
  const context = await browser.newContext();
  context.setDefaultTimeout(BROWSER_PATIENCE_MS);
  const page = await context.newPage();
  await page.goto(url, { waitUntil: 'load' });
  await page.waitForFunction('globalThis.page$ !== undefined && globalThis.crossOriginIsolated');
  const sample = await page.evaluate((given) => page$.loadModel(given), job);
  await context.close();
  return sample;
}

async function buildPage(outDir: string, alias: Readonly<Record<string, string>>): Promise<void> {
  const root = fileURLToPath(new URL('.', import.meta.url));
  await build({
    ...{ root, configFile: false, logLevel: 'error', base: './', resolve: { alias } },
    build: { outDir, emptyOutDir: true, target: 'esnext', rollupOptions: { input: join(root, 'page.html') } },
  });
}

function send(response: ServerResponse, file: string): void {
  const isolated = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' };
  const stats = statSync(file, { throwIfNoEntry: false });
  if (!stats?.isFile()) return void response.writeHead(404, isolated).end();
  const type = TYPES[extname(file)] ?? (file.endsWith('.wasm') ? 'application/wasm' : 'application/octet-stream');
  response.writeHead(200, {
    ...isolated,
    'Content-Type': type,
    'Content-Length': stats.size,
    'Cache-Control': 'no-store',
  });
  if (TYPES[extname(file)]) response.end(readFileSync(file));
  else createReadStream(file, { highWaterMark: 2 ** 20 }).pipe(response);
}
