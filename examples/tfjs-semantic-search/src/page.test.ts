/** The built page in a browser: both sides load, index, search while typing, cancel, and take a file. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright';
import { build, type PreviewServer, preview } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findChromium } from '../../../scripts/find-chromium.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const READY = /sentences are ready/;

describe('the page', { timeout: 180_000 }, () => {
  let server: PreviewServer;
  let browser: Browser;
  let page: Page;
  const problems: string[] = [];
  const status = () => page.locator('#status');
  const hits = (side: string) => page.locator(`#${side}-hits li span`).allTextContents();
  const untilReady = () => status().filter({ hasText: READY }).waitFor({ timeout: 150_000 });
  const figure = async (row: string) => {
    const cells = await page.locator('#figures tr', { hasText: row }).locator('td').allTextContents();
    return cells.map((text) => Number.parseFloat(text));
  };

  beforeAll(async () => {
    await build({ root, logLevel: 'error', configFile: join(root, 'vite.config.ts') });
    server = await preview({ root, logLevel: 'error', configFile: join(root, 'vite.config.ts'), preview: { port: 0 } });
    browser = await chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox'] });
    page = await browser.newPage({ viewport: { width: 1100, height: 1200 } });
    page.on('pageerror', (error) => problems.push(String(error)));
    page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
    await page.goto(server.resolvedUrls!.local[0]!);
    await untilReady();
  }, 180_000);

  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  it('finds by meaning on both sides, with embeddings that agree', async () => {
    await page.locator('#agreement').filter({ hasText: 'cosine' }).waitFor();
    for (const side of ['stock', 'msd']) expect((await hits(side))[0]).toMatch(/password|credentials|account/);
    const agreement = await page.locator('#agreement').textContent();
    expect(Number(/cosine (\d\.\d+)/.exec(agreement ?? '')?.[1])).toBeGreaterThan(0.999);
  });

  it('searches while somebody types', async () => {
    await page.keyboard.press('Tab'); // out of wherever it is
    await page.locator('#query').fill('');
    await page.locator('#query').pressSequentially('bad weather', { delay: 5 });
    await page
      .locator('#msd-hits li', { hasText: /rain|storm|wind|hail|snow/i })
      .first()
      .waitFor();
    await expect.poll(async () => (await hits('stock'))[0] === (await hits('msd'))[0], { timeout: 10_000 }).toBe(true);
  });

  it('shows what it costs: a fraction of the memory', async () => {
    const [stock, msd] = await figure('memory together');
    expect(msd! / stock!).toBeLessThan(0.35);
    for (const row of ['load the model', 'index all sentences', 'one query'])
      for (const value of await figure(row)) expect(value).toBeGreaterThan(0);
    await page.locator('summary').click();
    expect(await page.locator('#report').textContent()).toContain('MatMul + Reshape + BiasAdd + Relu');
  });

  it('changes the format, can be cancelled, and starts again', async () => {
    await page.locator('#format').selectOption('int4');
    await page.locator('#status', { hasText: / of \d+ sentences/ }).waitFor({ timeout: 60_000 });
    await page.keyboard.press('Escape');
    await page.locator('#status', { hasText: 'Cancelled' }).waitFor();
    expect(await page.locator('#cancel').isHidden()).toBe(true);
    await page.locator('#format').selectOption('int8');
    await untilReady();
  });

  it('takes a text file, dropped or chosen', async () => {
    const folder = join(root, 'generated');
    mkdirSync(folder, { recursive: true });
    const path = join(folder, 'lines.txt');
    writeFileSync(path, 'Ships cross the ocean.\n\nThe moon is full tonight.\nPizza is on the menu.\n');
    await page.locator('#file').setInputFiles(path);
    await page.locator('#status', { hasText: '3 sentences are ready' }).waitFor({ timeout: 60_000 });
    await page.locator('#query').fill('something to eat');
    await expect.poll(async () => (await hits('msd'))[0], { timeout: 10_000 }).toBe('Pizza is on the menu.');
    const drop = await page.evaluateHandle(() => {
      const data = new DataTransfer();
      data.items.add(new File(['A dog barks.\nRain falls.'], 'more.txt', { type: 'text/plain' }));
      return data;
    });
    await page.dispatchEvent('body', 'drop', { dataTransfer: drop });
    await page.locator('#status', { hasText: '2 sentences are ready' }).waitFor({ timeout: 60_000 });
  });

  it('can be used with a keyboard and a screen reader, light and dark', async () => {
    expect(await page.getByRole('searchbox', { name: 'Search' }).isVisible()).toBe(true);
    expect(await page.getByRole('combobox').count()).toBe(2);
    expect(await page.getByRole('table', { name: 'What it costs' }).isVisible()).toBe(true);
    await page.locator('h1').click();
    await page.keyboard.press('/');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('query');
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await background();
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await background()).not.toBe(light);
    await page.screenshot({ path: join(root, 'generated', 'page.png'), fullPage: true });
    expect(problems).toEqual([]);
  });
});
