/** What a page really downloads of MSD's code for a session: an app built by Vite, served, opened in Chromium. */
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type Browser, chromium } from 'playwright';
import { build, type Rollup } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { storyModel, storyPrompts } from '../packages/onnx/test/story.ts';
import { findChromium } from '../scripts/find-chromium.mjs';

const page = fileURLToPath(new URL('entries/onnx-page', import.meta.url));
const stories260k = fileURLToPath(new URL('../../shared/conformance/stories260k/onnx/model_q4.onnx', import.meta.url));

type Output = Rollup.OutputChunk | Rollup.OutputAsset;

/** The app, its own code and ONNX Runtime in chunks of their own. */
async function builtApp(): Promise<Output[]> {
  const ownChunk = (id: string): string | undefined => (/onnxruntime/.test(id) ? 'onnxruntime' : undefined);
  const result = await build({
    configFile: false,
    logLevel: 'silent',
    root: page,
    build: { write: false, rollupOptions: { output: { manualChunks: ownChunk } } },
  });
  return (Array.isArray(result) ? result : [result]).flatMap((bundle) => ('output' in bundle ? bundle.output : []));
}

const isOurs = (file: Output): boolean =>
  file.type === 'chunk' && Object.keys(file.modules).some((id) => /packages\/(core|onnx)\/dist/.test(id));

let server: Server;
let browser: Browser;
let origin: string;
const files = new Map<string, Output>();
const models = new Map<string, Uint8Array>();

beforeAll(async () => {
  for (const file of await builtApp()) files.set(`/${file.fileName}`, file);
  server = createServer(({ url = '/' }, response) => {
    const path = url === '/' ? '/index.html' : url;
    const file = files.get(path);
    const body = models.get(path) ?? (file?.type === 'chunk' ? file.code : file?.source);
    const type =
      path.endsWith('.js') || path.endsWith('.mjs') ? 'text/javascript' : path.endsWith('.html') ? 'text/html' : '';
    response.writeHead(body === undefined ? 404 : 200, { 'Content-Type': type || 'application/octet-stream' });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  browser = await chromium.launch({ executablePath: findChromium(), args: ['--no-sandbox'] });
}, 120_000);

afterAll(async () => {
  await browser?.close();
  server?.close();
});

interface Downloaded {
  readonly chosen: readonly number[] | undefined;
  readonly where: readonly string[];
  /** Gzipped, of the chunks that were asked for. */
  readonly bytes: number;
  readonly requests: number;
}

async function download(model: Uint8Array, prompt?: readonly number[], steps?: number): Promise<Downloaded> {
  const path = `/${models.size}.onnx`;
  models.set(path, model);
  const asked: Output[] = [];
  const context = await browser.newContext();
  const tab = await context.newPage();
  tab.on('request', (request) => {
    const file = files.get(new URL(request.url()).pathname);
    if (file && isOurs(file)) asked.push(file);
  });
  await tab.goto(origin);
  await tab.waitForFunction(() => 'load' in globalThis);
  const call = `load(${JSON.stringify(path)}, ${JSON.stringify(prompt)}, ${steps})`;
  const result = (await tab.evaluate(call)) as Pick<Downloaded, 'chosen' | 'where'>;
  await context.close();
  const bytes = asked.reduce((sum, file) => sum + gzipSync((file as Rollup.OutputChunk).code).length, 0);
  return { ...result, bytes, requests: asked.length };
}

/** Gzipped, of all that is downloaded for a language model in MatMulNBits. docs/onnx.md says what it consists of. */
const CEILING = 118_000;
const MOST_REQUESTS = 12;

describe('bytes of code that a session downloads', () => {
  it('the story model, q4', { timeout: 120_000 }, async () => {
    const { chosen, where, bytes, requests } = await download(storyModel('q4'), storyPrompts()[0], 3);
    console.log(`story model, q4: ${bytes} bytes gzipped in ${requests} requests`);
    expect(chosen).toHaveLength(3);
    expect(where).toEqual(['msd']);
    expect(bytes).toBeGreaterThan(10_000);
    expect(bytes).toBeLessThanOrEqual(CEILING);
    expect(requests).toBeLessThanOrEqual(MOST_REQUESTS);
  });

  it.skipIf(!existsSync(stories260k))('stories260k, q4 (skipped without ../shared)', { timeout: 120_000 }, async () => {
    const { where, bytes, requests } = await download(readFileSync(stories260k), [1, 403, 407], 3);
    console.log(`stories260k, q4: ${bytes} bytes gzipped in ${requests} requests`);
    expect(where).toEqual(['msd']);
    expect(bytes).toBeLessThanOrEqual(CEILING);
    expect(requests).toBeLessThanOrEqual(MOST_REQUESTS);
  });
});
