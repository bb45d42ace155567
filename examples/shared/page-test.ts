/** A built page as a static host gives it out, in a real browser: what the tests of all pages start with. */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, normalize } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright';
import { build } from 'vite';
import { BROWSER_PATIENCE_MS, findChromium } from '../../scripts/find-chromium.mjs';
import { typeOf } from './vite.ts';

export interface PageOptions {
  /** Send COOP and COEP: shared memory, hence threads. */
  readonly isIsolated?: boolean;
  readonly width?: number;
  readonly height?: number;
  /** Behind the page's address: `?…#…`. */
  readonly query?: string;
  /** Complaints are expected, so that they are no problems. */
  readonly isQuiet?: boolean;
}

/** One page with the browser it is opened in. */
export interface PageHost {
  /** A fresh page of a fresh profile. What it complains about is added to `problems`. */
  open(options?: PageOptions): Promise<Page>;
  /** Errors that pages threw or logged, and requests that went somewhere else. */
  readonly problems: string[];
  /** Where the page lies, without or with isolation. */
  url(isIsolated: boolean): string;
  close(): Promise<void>;
}

/** Pages have to work in any folder of a host. */
const FOLDER = '/some/folder/';

/** Nothing but files, like every static host: it knows no page and no rewriting. */
function staticHost(folder: string, isIsolated: boolean): Promise<{ url: string; close(): void }> {
  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url ?? '/').split('?')[0]!);
    const file = normalize(path.slice(FOLDER.length)) || 'index.html';
    if (isIsolated) {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    }
    try {
      if (!path.startsWith(FOLDER) || file.startsWith('..')) throw new Error('outside');
      const name = file === '.' ? 'index.html' : file;
      const bytes = readFileSync(join(folder, name));
      const type = { html: 'text/html', js: 'text/javascript', css: 'text/css' }[name.slice(name.lastIndexOf('.') + 1)];
      response.setHeader('Content-Type', type ?? typeOf(name));
      response.end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      const close = () => {
        server.closeAllConnections();
        server.close();
      };
      resolve({ url: `http://127.0.0.1:${port}${FOLDER}`, close });
    });
  });
}

/**
 * Builds a page, and hosts it twice: without and with isolation.
 *
 * @param root the example's folder, which has a vite.config.ts that builds into generated/page
 */
export async function hostPage(root: string): Promise<PageHost> {
  await build({ root, logLevel: 'error', configFile: join(root, 'vite.config.ts') });
  const folder = join(root, 'generated/page');
  const hosts = { plain: await staticHost(folder, false), isolated: await staticHost(folder, true) };
  const browser: Browser = await chromium.launch({
    executablePath: findChromium(),
    args: ['--no-sandbox'],
    timeout: BROWSER_PATIENCE_MS,
  });
  const problems: string[] = [];
  const url = (isIsolated: boolean) => hosts[isIsolated ? 'isolated' : 'plain'].url;
  return {
    problems,
    url,
    async open({ isIsolated = false, width = 1100, height = 900, query = '', isQuiet = false } = {}) {
      const context = await browser.newContext({ viewport: { width, height } });
      context.setDefaultTimeout(BROWSER_PATIENCE_MS);
      const page = await context.newPage();
      const complain = (text: string) => !isQuiet && problems.push(text);
      page.on('pageerror', (error) => complain(String(error)));
      page.on('console', (message) => message.type() === 'error' && complain(message.text()));
      page.on('request', (request) => {
        const elsewhere = !/^(data|blob):/.test(request.url()) && !request.url().startsWith(url(isIsolated));
        if (elsewhere) complain(`asked for ${request.url()}`);
      });
      await page.goto(url(isIsolated) + query);
      return page;
    },
    async close() {
      await browser.close();
      hosts.plain.close();
      hosts.isolated.close();
    },
  };
}

/** Everything that a finger has to hit and that is smaller than 44 px, and whether the page scrolls sideways. */
export async function phoneProblems(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth > clientWidth) found.push(`the page is ${scrollWidth} px wide on ${clientWidth}`);
    for (const control of document.querySelectorAll<HTMLElement>(
      'button, input, select, textarea, summary, .links a',
    )) {
      const { width, height, right } = control.getBoundingClientRect();
      if (width === 0) continue;
      if (height < 43.5) found.push(`${control.outerHTML.slice(0, 60)} is ${height} px high`);
      if (right > clientWidth + 0.5) found.push(`${control.outerHTML.slice(0, 60)} ends at ${right} px`);
    }
    return found;
  });
}
