/** The built page in a browser: real engines write, with and without isolation; links, folders, keyboard, phone. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hostPage, type PageHost, phoneProblems } from '../../shared/page-test.ts';
import { type SharedResult, shareHash } from './share.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const story = fileURLToPath(new URL('../../story-model/generated', import.meta.url));
const DONE_MS = 100_000;

/** A link that fills in the settings; a page that is opened with it computes nothing by itself. */
const FIGURES = { rate: 100, firstMs: 20, startMs: 500, memory: 16e6, code: 14e6 };
const RESULT: SharedResult = {
  kind: 'shipped',
  name: '',
  dtype: 'q4',
  threads: 2,
  tokens: 24,
  prompt: 'Long ago, in a dark forest, there lived a curious fox named Lily.',
  text: 'Lily had only one wish.',
  written: 24,
  same: 24,
  figures: { stock: FIGURES, msd: { ...FIGURES, rate: 300 } },
  isLeft: false,
  browser: 'Chrome 156, 8 cores',
  date: '2026-11-29',
};

describe('the page', { timeout: 120_000 }, () => {
  let host: PageHost;
  let page: Page;
  const status = (text: string | RegExp, of = page) =>
    of.locator('#status', { hasText: text }).waitFor({ timeout: DONE_MS });
  const done = (of = page) => status('Done.', of);
  const text = async (id: string, of = page) => (await of.locator(`#${id}`).textContent()) ?? '';
  const figures = async (row: string, of = page) => {
    const cells = await of.locator('#figures tr', { hasText: row }).locator('td').allTextContents();
    return cells.map((cell) => Number.parseFloat(cell));
  };

  beforeAll(async () => {
    host = await hostPage(root);
    page = await host.open();
  }, 120_000);

  afterAll(() => host?.close());

  it('writes the same text on both sides by itself, faster on MSD, without ONNX Runtime’s WebAssembly there', async () => {
    await done();
    expect(await text('agreement')).toBe('Both wrote the same 200 tokens.');
    expect(await text('msd-text')).toBe(await text('stock-text'));
    expect(await text('msd-text')).toMatch(/^Once upon a time.* island\. Daisy had only one wish/);
    expect(await text('headline')).toMatch(/times as fast on MSD: .* the same 200 tokens/);
    const [stock, msd] = await figures('tokens per second');
    expect(msd! / stock!).toBeGreaterThan(1.05);
    const [stockCode, msdCode] = await figures('code of the engine');
    expect(stockCode).toBeGreaterThan(14);
    expect(msdCode).toBeLessThan(1.5);
    const [stockMemory, msdMemory] = await figures('WebAssembly memory');
    expect(msdMemory! / stockMemory!).toBeLessThan(0.5);
    await page.locator('summary').click();
    expect(await text('summary')).toMatch(/MSD runs all \d+ nodes; onnxruntime-web’s WebAssembly is not started/);
    expect(await text('report')).toMatch(/msd +com\.microsoft\.MatMulNBits +gemm_/);
    expect(await text('chart-text')).toMatch(/Transformers\.js wrote [\d.]+ tokens per second/);
    await page.locator('#chart [stroke="var(--msd)"]').waitFor({ state: 'attached' });
  });

  it('has one thread without isolation, and says why', async () => {
    expect(await page.locator('#threads option').allTextContents()).toEqual(['1']);
    expect(await text('threads-hint')).toMatch(/COOP and COEP/);
  });

  it('writes another round with the loaded models, and can be stopped with Escape', async () => {
    await page.locator('#tokens').fill('24');
    await page.locator('#write').click();
    await status('Done. Press Write for another round: 2 so far.');
    await page.locator('#tokens').fill('200');
    await page.locator('#write').click();
    await page.keyboard.press('Escape');
    await status('Stopped.');
    expect(await page.locator('#write').isEnabled()).toBe(true);
  });

  it('makes a link that shows the result to somebody else, without computing', async () => {
    await page.locator('#tokens').fill('24');
    await page.locator('#prompt').press('Control+Enter');
    await done();
    await page.locator('#share').click();
    await status(/Copied|copy the address/);
    const { hash } = new URL(page.url());
    const written = await text('msd-text');
    const other = await host.open({ query: hash });
    await status('Press Write to measure it here.', other);
    expect(await text('agreement', other)).toMatch(
      /Measured by whoever sent this link: the story model q4, 1 thread, .*20\d\d-/,
    );
    expect(await text('msd-text', other)).toBe(written);
    expect(await text('headline', other)).toBe(await text('headline'));
    expect(await figures('tokens per second', other)).toEqual(await figures('tokens per second'));
    await other.close();
    const damaged = await host.open({ query: hash.slice(0, -20) });
    await status(/link to a result is damaged/, damaged);
    expect(await damaged.locator('#status').getAttribute('class')).toBe('error');
    expect(await damaged.locator('figure').isVisible()).toBe(false);
    await damaged.close();
  });

  it('takes a folder, shows its weights, and says when MSD leaves a model alone', async () => {
    await page.locator('#model').selectOption('folder');
    await page.locator('#write').click();
    await status('No folder is chosen.');
    await page.locator('#folder').setInputFiles(join(root, 'src'));
    await status('There is no config.json.');
    await page.locator('#write').click();
    await status('No folder is chosen.');
    await page.locator('#folder').setInputFiles(story);
    await status('The folder is ready.');
    expect(await page.locator('#dtype option').allTextContents()).toEqual(['q4', 'fp32']);
    await page.locator('#dtype').selectOption('fp32');
    await page.locator('#write').click();
    await done();
    expect(await text('agreement')).toBe('Both wrote the same 24 tokens.');
    // The cost model decides: what it leaves is the same engine on both sides, and no speed of MSD's.
    const isLeft = /MSD leaves this model/.test(await text('summary'));
    expect(await text('headline')).toMatch(isLeft ? /^The same on both sides: MSD leaves/ : /on MSD: /);
    await page.locator('#dtype').selectOption('q4');
    await page.locator('#write').click();
    await done();
    expect(await text('summary')).toMatch(/MSD runs all/);
    await page.locator('#model').selectOption('shipped');
    const drop = await page.evaluateHandle(async () => {
      const data = new DataTransfer();
      for (const path of ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'onnx/model_q4.onnx']) {
        const blob = await (await fetch(`./models/story/${path}`)).blob();
        data.items.add(new File([blob], path.split('/').at(-1)!));
      }
      return data;
    });
    await page.dispatchEvent('body', 'drop', { dataTransfer: drop });
    await status('The folder is ready.');
    expect(await page.locator('#model').inputValue()).toBe('folder');
    expect(await page.locator('#dtype option').allTextContents()).toEqual(['q4']);
  });

  it('marks the token where two texts part', async () => {
    // ONNX Runtime rounds the activations of a q8 file to 8 bits: that is enough to change this story.
    const prompt = 'Long ago, in a lovely garden, there lived a gentle mouse named Nora.';
    const other = await host.open({ query: shareHash({ ...RESULT, prompt, dtype: 'q8', tokens: 80 }) });
    await other.locator('#write').click();
    await done(other);
    const [, same] = /^The first (\d+) of 80 tokens are the same; the marked one differs\. With q8 weights/.exec(
      await text('agreement', other),
    )!;
    expect(Number(same)).toBeGreaterThan(20);
    const [stock, msd] = await other.locator('.text mark').allTextContents();
    expect(stock!.trim()).toMatch(/^\S+$/);
    expect(msd!.trim()).toMatch(/^\S+$/);
    expect(stock).not.toBe(msd);
    const [before, after] = (await text('msd-text', other)).split(msd!) as [string, string];
    expect((await text('stock-text', other)).startsWith(before)).toBe(true);
    expect(after.length).toBeGreaterThan(0);
    expect(await text('headline', other)).toContain(`the same first ${same} of 80 tokens`);
    await other.close();
  });

  it('refuses what cannot work, with a sentence that says what to do', async () => {
    const other = await host.open({ query: shareHash(RESULT), isQuiet: true });
    const say = async (message: RegExp) => {
      await other.locator('#write').click();
      await status(message, other);
    };
    await other.locator('#model').selectOption('hub');
    await other.locator('#hub').fill('no model');
    await say(/“no model” is not the name of a model on the hub/);
    await other.locator('#hub').fill('someone/a-model');
    await other.route('https://huggingface.co/**', (route) => route.abort());
    await say(/online\?/);
    await other.locator('#model').selectOption('shipped');
    await other.locator('#tokens').fill('1');
    await say(/Tokens: a whole number from 2/);
    await other.locator('#tokens').fill('24');
    await other.locator('#prompt').fill('fox '.repeat(260));
    await say(/at most 256: shorten it/);
    await other.locator('#prompt').fill(' ');
    await say(/opening is empty/);
    await other.close();
  });

  it('uses threads in an isolated page, with the same text', async () => {
    const isolated = await host.open({ isIsolated: true, query: shareHash(RESULT) });
    expect(await isolated.evaluate('crossOriginIsolated')).toBe(true);
    expect(await text('threads-hint', isolated)).toBe('');
    const threads = await isolated.locator('#threads').inputValue();
    await isolated.locator('#write').click();
    await done(isolated);
    expect(await text('agreement', isolated)).toBe('Both wrote the same 24 tokens.');
    expect(new URL(isolated.url()).hash).toBe(''); // the link was of another result
    expect(await text('report', isolated)).toContain(`threads ${threads} of ${threads}`);
    await isolated.close();
  });

  it('can be used with a keyboard and a screen reader, light and dark, on a phone', async () => {
    expect(await page.getByRole('textbox', { name: 'Opening' }).isVisible()).toBe(true);
    for (const name of ['Model', 'Weights', 'Threads'])
      expect(await page.getByRole('combobox', { name }).isVisible()).toBe(true);
    expect(await page.getByRole('table', { name: 'What it costs' }).isVisible()).toBe(true);
    expect(await page.getByRole('img', { name: /Tokens per second.*wrote/ }).count()).toBe(1);
    expect(await page.locator('[aria-live=polite]').count()).toBe(2);
    await page.locator('h1').click();
    await page.keyboard.press('/');
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('prompt');
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await background();
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await background()).not.toBe(light);
    await page.setViewportSize({ width: 390, height: 844 });
    for (const model of ['shipped', 'hub', 'folder']) {
      await page.locator('#model').selectOption(model);
      expect(await phoneProblems(page), model).toEqual([]);
    }
    for (const link of await page
      .locator('.links a')
      .evaluateAll((all) => all.map((one) => (one as HTMLAnchorElement).href)))
      if (link.startsWith(host.url(false))) expect(await (await page.request.get(link)).text()).toMatch(/^# /);
    expect(host.problems).toEqual([]);
  });
});
