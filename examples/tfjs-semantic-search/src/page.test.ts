/** The built page in a browser: both sides load, index, search while typing, cancel, and take a file. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hostPage, type PageHost, phoneProblems } from '../../shared/page-test.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const READY = /sentences are ready/;

describe('the page', { timeout: 180_000 }, () => {
  let host: PageHost;
  let page: Page;
  const status = () => page.locator('#status');
  const hits = (side: string) => page.locator(`#${side}-hits li span`).allTextContents();
  const agreement = async () => (await page.locator('#agreement').textContent()) ?? '';
  const untilReady = () => status().filter({ hasText: READY }).waitFor({ timeout: 150_000 });
  const cosine = async () => {
    await page.locator('#agreement').filter({ hasText: 'cosine' }).waitFor({ timeout: 60_000 });
    return Number(/embeddings (\d\.\d+)/.exec(await agreement())?.[1]);
  };
  const figure = async (row: string) => {
    const cells = await page.locator('#figures tr', { hasText: row }).locator('td').allTextContents();
    return cells.map((text) => Number.parseFloat(text));
  };

  beforeAll(async () => {
    host = await hostPage(root);
    page = await host.open({ width: 1100, height: 1200 });
  }, 180_000);

  afterAll(() => host?.close());

  it('starts with MSD, which can be searched with while the other side says why it waits', async () => {
    await page.locator('#stock-state', { hasText: 'Waits for MSD' }).waitFor();
    await page.locator('#msd-hits li').first().waitFor({ timeout: 60_000 });
    expect(await page.locator('#query').isEnabled()).toBe(true);
    expect(await page.locator('#headline').textContent()).toMatch(/Measuring|of memory/);
    await untilReady();
  });

  it('finds by meaning on both sides, with embeddings that agree', async () => {
    expect(await cosine()).toBeGreaterThan(0.999);
    for (const side of ['stock', 'msd']) expect((await hits(side))[0]).toMatch(/password|credentials|account/);
  });

  it('searches while somebody types', async () => {
    await page.keyboard.press('Tab'); // out of wherever it is
    await page.locator('#query').fill('');
    await page.locator('#query').pressSequentially('bad weather', { delay: 5 });
    await page
      .locator('#msd-hits li', { hasText: /rain|storm|wind|hail|snow/i })
      .first()
      .waitFor();
    await expect.poll(async () => (await hits('stock'))[0] === (await hits('msd'))[0], { timeout: 60_000 }).toBe(true);
  });

  it('shows answers of both sides only together, with the text that they belong to', async () => {
    // Every state that the page passes through while somebody types on and on.
    await page.evaluate(() => {
      const seen: string[] = [];
      const look = () => {
        const first = (side: string) => document.querySelector(`#${side}-hits span`)?.textContent ?? '';
        const busy = document.getElementById('sides')?.getAttribute('aria-busy');
        seen.push([busy, document.getElementById('agreement')?.textContent, first('stock'), first('msd')].join('|'));
      };
      new MutationObserver(look).observe(document.querySelector('main')!, {
        subtree: true,
        childList: true,
        attributes: true,
      });
      Object.assign(globalThis, { seen });
    });
    await page.locator('#query').fill('');
    await page.locator('#query').pressSequentially('my train is late', { delay: 15 });
    await page.locator('#agreement', { hasText: '“my train is late”' }).waitFor();
    const seen = (await page.evaluate('seen')) as string[];
    expect(seen.some((state) => state.startsWith('true|Searching …'))).toBe(true);
    for (const state of seen.filter((one) => one.includes('|Both answers'))) {
      const [, , stock, msd] = state.split('|');
      expect(stock && msd, state).toBeTruthy();
    }
    expect(await page.locator('#sides').getAttribute('aria-busy')).toBe('false');
  });

  it('shows what it costs: a fraction of the memory, as the headline', async () => {
    expect(await page.locator('#headline').textContent()).toMatch(
      /^\d\.\d\sMB of memory instead of \d+\.\d\sMB, 1\d times less; reading \d+ sentences took/,
    );
    const box = await page.locator('#headline').boundingBox();
    expect(box!.y + box!.height).toBeLessThan(400);
    const [stock, msd] = await figure('memory together');
    expect(msd! / stock!).toBeLessThan(0.35);
    for (const row of ['load the model', 'index all sentences', 'one query'])
      for (const value of await figure(row)) expect(value).toBeGreaterThan(0);
    await page.locator('summary').click();
    expect(await page.locator('#report').textContent()).toContain('MatMul + Reshape + BiasAdd + Relu');
  });

  it('says what int4 loses, and means it', async () => {
    await page.locator('#query').fill('I can’t get into my account');
    await page.locator('#format').selectOption('int4');
    const said = Number(/cosine about (0\.\d+)/.exec((await page.locator('#format-hint').textContent()) ?? '')?.[1]);
    await untilReady();
    expect(Math.abs((await cosine()) - said)).toBeLessThan(0.01);
  });

  it('changes the format, can be cancelled, and starts again', async () => {
    await page.locator('#format').selectOption('int8');
    await page.locator('#status', { hasText: / of \d+ sentences/ }).waitFor({ timeout: 60_000 });
    await page.keyboard.press('Escape');
    await page.locator('#status', { hasText: 'Cancelled' }).waitFor();
    expect(await page.locator('#cancel').isHidden()).toBe(true);
  });

  it('takes a text file, dropped or chosen', async () => {
    const folder = join(root, 'generated');
    mkdirSync(folder, { recursive: true });
    const path = join(folder, 'lines.txt');
    writeFileSync(path, 'Ships cross the ocean.\n\nThe moon is full tonight.\nPizza is on the menu.\n');
    await page.locator('#file').setInputFiles(path);
    await page.locator('#status', { hasText: '3 sentences are ready' }).waitFor({ timeout: 60_000 });
    await page.locator('#query').fill('something to eat');
    await expect.poll(async () => (await hits('msd'))[0], { timeout: 60_000 }).toBe('Pizza is on the menu.');
    const drop = await page.evaluateHandle(() => {
      const data = new DataTransfer();
      data.items.add(new File(['A dog barks.\nRain falls.'], 'more.txt', { type: 'text/plain' }));
      return data;
    });
    await page.dispatchEvent('body', 'drop', { dataTransfer: drop });
    await page.locator('#status', { hasText: '2 sentences are ready' }).waitFor({ timeout: 60_000 });
  });

  it('loads in an isolated page, too', async () => {
    const isolated = await host.open({ isIsolated: true });
    expect(await isolated.evaluate('crossOriginIsolated')).toBe(true);
    await isolated.locator('#msd-hits li').first().waitFor({ timeout: 60_000 });
    await isolated.close();
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
  });

  it('fits a phone, and links to what it shows', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    expect(await phoneProblems(page)).toEqual([]);
    const links = await page
      .locator('.links a')
      .evaluateAll((all) => all.map((link) => (link as HTMLAnchorElement).href));
    expect(links.length).toBeGreaterThanOrEqual(4);
    for (const link of links.filter((one) => one.startsWith(host.url(false))))
      expect(await (await page.request.get(link)).text()).toMatch(/^# /);
    expect(host.problems).toEqual([]);
  });
});
