/** The built page in a browser, with the toy model: both engines read, search and agree, with and without isolation. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hostPage, type PageHost, phoneProblems } from '../../shared/page-test.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const generated = join(root, 'generated');
const READY_MS = 100_000;

describe('the page', { timeout: 120_000 }, () => {
  let host: PageHost;
  let page: Page;
  const status = (text: string | RegExp, of = page) =>
    of.locator('#status', { hasText: text }).waitFor({ timeout: READY_MS });
  const ready = (of = page) => status(/sentences are ready/, of);
  const hits = (side: string, of = page) => of.locator(`#${side}-hits li span`).allTextContents();
  const text = async (id: string, of = page) => (await of.locator(`#${id}`).textContent()) ?? '';
  const figures = async (row: string) => {
    const cells = await page.locator('#figures tr', { hasText: row }).locator('td').allTextContents();
    return cells.map((cell) => Number.parseFloat(cell));
  };
  const ask = async (query: string, of = page) => {
    await of.locator('#query').fill(query);
    await of.locator('#agreement', { hasText: `“${query}”` }).waitFor();
  };

  beforeAll(async () => {
    host = await hostPage(root);
    page = await host.open();
    await ready();
  }, 120_000);

  afterAll(() => host?.close());

  it('finds by meaning on both sides, with embeddings that agree', async () => {
    await ask('bad weather');
    for (const side of ['stock', 'msd']) expect((await hits(side))[0]).toMatch(/rain|storm|wind|snow/i);
    expect(await hits('msd')).toEqual(await hits('stock'));
    expect(Number(/embeddings (\d\.\d+)/.exec(await text('agreement'))?.[1])).toBeGreaterThan(0.999);
    await ask('my train is late');
    expect((await hits('msd'))[0]).toMatch(/train/);
  });

  it('says what it costs, and that MSD ran the products', async () => {
    expect(await text('headline')).toMatch(
      /on MSD: reading 236 lines took .* instead of .*, and .* of memory instead of /,
    );
    for (const row of ['load the model', 'index all', 'one query', 'memory', 'code'])
      for (const value of await figures(row)) expect(value, row).toBeGreaterThan(0);
    const [stockCode, msdCode] = await figures('code');
    expect(msdCode! / stockCode!).toBeLessThan(0.1); // no WebAssembly of ONNX Runtime
    await page.locator('summary').click();
    expect(await text('report')).toMatch(/MSD runs all \d+ nodes[\s\S]*msd +MatMulInteger +gemm_/);
    expect(await text('threads-hint')).toMatch(/one thread.*COOP and COEP/);
  });

  it('reads the reader’s own file, chosen or dropped, when Start is pressed', async () => {
    mkdirSync(generated, { recursive: true });
    writeFileSync(join(generated, 'empty.txt'), '\n \n');
    await page.locator('#file').setInputFiles(join(generated, 'empty.txt'));
    await status('empty.txt has no lines of text. Choose a text file');
    writeFileSync(join(generated, 'lines.txt'), 'The judge reads the law.\n\nA dog and a cat.\nPizza with cheese.\n');
    await page.locator('#file').setInputFiles(join(generated, 'lines.txt'));
    await status('3 lines of lines.txt. Press Start');
    await page.locator('#start').click();
    await status('3 sentences are ready');
    await ask('something to eat');
    expect((await hits('msd'))[0]).toBe('Pizza with cheese.');
    const drop = await page.evaluateHandle(() => {
      const data = new DataTransfer();
      data.items.add(new File(['A dog barks.\nRain falls.'], 'more.txt', { type: 'text/plain' }));
      return data;
    });
    await page.dispatchEvent('body', 'drop', { dataTransfer: drop });
    await status('2 lines of more.txt. Press Start');
  });

  it('asks the hub only for models of the hub, and explains what fails', async () => {
    const other = await host.open({ isQuiet: true });
    await other.locator('#model').selectOption('other');
    await other.locator('#hub').fill('MiniLM');
    await other.locator('#start').click();
    await status('“MiniLM” is not the name of a model on the hub.', other);
    await other.route('https://huggingface.co/**', (route) => route.abort());
    await other.locator('#model').selectOption('Xenova/all-MiniLM-L6-v2');
    expect(await text('model-hint', other)).toMatch(/Downloaded from huggingface\.co/);
    await other.locator('#start').click();
    await status(/It failed: .*online\?/, other);
    await other.close();
  });

  it('reads the same with threads, in an isolated page', async () => {
    const isolated = await host.open({ isIsolated: true });
    await ready(isolated);
    expect(await text('threads-hint', isolated)).toMatch(/Both use \d threads|one thread/);
    expect(await isolated.evaluate('crossOriginIsolated')).toBe(true);
    await ask('bad weather', isolated);
    expect(await hits('msd', isolated)).toEqual(await hits('stock', isolated));
    await isolated.close();
  });

  it('can be used with a keyboard and a screen reader, light and dark, on a phone', async () => {
    expect(await page.getByRole('searchbox', { name: 'Search' }).isVisible()).toBe(true);
    expect(await page.getByRole('combobox', { name: 'Model' }).isVisible()).toBe(true);
    expect(await page.getByRole('table', { name: 'What it costs' }).isVisible()).toBe(true);
    await page.locator('h1').click();
    await page.keyboard.press('/');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('query');
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await background();
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await background()).not.toBe(light);
    await page.setViewportSize({ width: 390, height: 844 });
    for (const model of ['toy', 'other']) {
      await page.locator('#model').selectOption(model);
      expect(await phoneProblems(page), model).toEqual([]);
    }
    expect(host.problems).toEqual([]);
  });
});
