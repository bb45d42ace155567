/** Pipelines of Transformers.js in a page of Chromium, which Vite has built: with MSD what they say without. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BROWSER_PATIENCE_MS } from '../../../scripts/find-chromium.mjs';
import { openChromium, serve } from '../../../scripts/outside/pages.mjs';
import { CASES } from './pipeline-cases.ts';
import { expectAlike } from './pipeline-compare.ts';
import type { PageResult } from './pipelines-page.ts';
import { FOLDERS } from './transformers-folders.ts';
import { writeFolder } from './transformers-models.ts';

let folder: string;
let browser: Browser;
let site: { url: string; close(): void };
let page: Page;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'msd-pages-'));
  for (const [name, model] of Object.entries(FOLDERS)) writeFolder(join(folder, 'models'), name, model);
  mkdirSync(join(folder, 'sources'));
  const code = fileURLToPath(new URL('./pipelines-page.ts', import.meta.url));
  writeFileSync(
    join(folder, 'sources/index.html'),
    `<!doctype html><title></title><link rel="icon" href="data:,"><script type="module" src="${code}"></script>`,
  );
  await build({
    root: join(folder, 'sources'),
    logLevel: 'error',
    base: './',
    // package.json names what has side effects among the files that are published, not among their sources.
    plugins: [
      {
        name: 'sources',
        transform: (code, id) => (/\/src\/transformers\.ts$/.test(id) ? { code, moduleSideEffects: true } : undefined),
      },
    ],
    build: {
      outDir: join(folder, 'site'),
      target: 'esnext',
      minify: false,
      chunkSizeWarningLimit: 1e5,
    },
  });
  const ort = dirname(createRequire(import.meta.url).resolve('onnxruntime-web'));
  site = await serve(
    { '/models/': join(folder, 'models'), '/ort/': ort, '/': join(folder, 'site') },
    { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' },
  );
  browser = await openChromium();
  page = await browser.newPage();
  page.setDefaultTimeout(BROWSER_PATIENCE_MS);
  await page.goto(site.url);
  await page.waitForFunction(() => document.title === 'ready');
}, 120_000);
afterAll(async () => {
  await browser?.close();
  site?.close();
  rmSync(folder, { recursive: true });
});

describe('pipelines in Chromium', () => {
  it('have MSD’s code made ready when a model is fetched', async () => {
    const isWarmed = () => performance.getEntriesByType('resource').some(({ name }) => /warm-model/.test(name));
    expect(await page.evaluate(isWarmed)).toBe(false);
    const fetched = () => (globalThis as unknown as { fetchModel(): Promise<number> }).fetchModel();
    expect(await page.evaluate(fetched)).toBe(200);
    await page.waitForFunction(isWarmed);
  });

  it.each(CASES.map(({ name, sessions }) => [name, sessions] as const))('%s', async (name, sessions) => {
    const result = await page.evaluate(
      (each) => (globalThis as unknown as { runCase(name: string): Promise<PageResult> }).runCase(each),
      name,
    );
    expect(result.sessions).toEqual(sessions);
    expect(result.isAllTaken).toBe(true);
    expect(JSON.stringify(result.plain.answer).length).toBeGreaterThan(20);
    expectAlike(result.msd, result.plain);
  });
});
