// A static site and a browser for the checks in apps outside the workspace.
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { chromium } from 'playwright';
import { BROWSER_PATIENCE_MS, findChromium } from '../find-chromium.mjs';
import { openFirefox, openWebKit, WITH_THREADS } from '../webdriver.mjs';

const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

/**
 * Serves folders.
 *
 * @param {Record<string, string>} roots folders by the path that they are served under: '/' for all the rest
 * @param {Record<string, string>} [headers] of every answer
 * @returns {Promise<{ url: string, close(): void }>}
 */
export async function serve(roots, headers = {}) {
  const prefixes = Object.keys(roots).sort((a, b) => b.length - a.length);
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    const prefix = prefixes.find((each) => path.startsWith(each));
    let file = join(roots[prefix], path.slice(prefix.length));
    if (existsSync(file) && statSync(file).isDirectory()) file = join(file, 'index.html');
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (!existsSync(file)) {
      response.statusCode = 404;
      response.end();
      return;
    }
    response.setHeader('Content-Type', TYPES[extname(file)] ?? 'application/octet-stream');
    response.setHeader('Content-Length', statSync(file).size);
    createReadStream(file).pipe(response);
  });
  await new Promise((done) => server.listen(0, done));
  return { url: `http://localhost:${server.address().port}`, close: () => server.close() };
}

/** @returns {Promise<import('playwright').Browser>} */
export const openChromium = () =>
  chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox'], timeout: BROWSER_PATIENCE_MS });

/** Chromium; with MSD_BROWSER=firefox or webkit that one, whose tabs tell less. */
export function openBrowser() {
  const other = process.env.MSD_BROWSER;
  if (other === 'firefox') return openFirefox();
  if (other === 'webkit') return openWebKit(undefined, WITH_THREADS);
  return openChromium();
}

/**
 * Opens a page that says its result as JSON in its title.
 *
 * @returns {Promise<{ result: object, fetched: string[], workers: number }>} paths of all requests, and workers that are left; in other
 *   browsers than Chromium paths that the page itself asked for, and no workers
 */
export async function resultOf(browser, url) {
  const tab = 'newTab' in browser ? await otherTab(browser, url) : await chromiumTab(browser, url);
  const title = await tab.title().catch((error) => tab.problems.push(String(error)) && '');
  const [fetched, workers] = [await tab.fetched(), await tab.workers()];
  await tab.close();
  return { result: title ? JSON.parse(title) : { error: tab.problems.join('; ') || 'no result' }, fetched, workers };
}

async function chromiumTab(browser, url) {
  const tab = await browser.newPage();
  tab.setDefaultTimeout(BROWSER_PATIENCE_MS);
  const fetched = [];
  const problems = [];
  tab.on('request', (request) => fetched.push(new URL(request.url()).pathname));
  tab.on('pageerror', (error) => problems.push(String(error)));
  await tab.goto(url);
  return {
    problems,
    async title() {
      await tab.waitForFunction(() => document.title.startsWith('{'));
      return tab.title();
    },
    fetched: () => fetched,
    async workers() {
      // Threads wait a second for another session before they end.
      for (let tries = 0; tab.workers().length > 0 && tries < 30; tries++) await tab.waitForTimeout(100);
      return tab.workers().length;
    },
    close: () => tab.close(),
  };
}

async function otherTab(browser, url) {
  const tab = await browser.newTab();
  await tab.goto(url);
  const title = () => tab.evaluate('document.title');
  return {
    problems: [],
    async title() {
      for (let tries = 0; tries < BROWSER_PATIENCE_MS / 100; tries++) {
        if ((await title()).startsWith('{')) break;
        await wait(100);
      }
      return title();
    },
    fetched: () => tab.evaluate("performance.getEntriesByType('resource').map(({ name }) => new URL(name).pathname)"),
    workers: () => 0,
    close: () => tab.close(),
  };
}
