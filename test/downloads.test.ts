/** What a page really downloads of MSD's code for a session: an app built by Vite, served, opened in Chromium. */
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type Browser, chromium } from 'playwright';
import { build, type Rollup } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { recogniser } from '../packages/onnx/test/ocr.ts';
import { storyModel, storyPrompts } from '../packages/onnx/test/story.ts';
import { BROWSER_PATIENCE_MS, findChromium } from '../scripts/find-chromium.mjs';

const page = fileURLToPath(new URL('entries/onnx-page', import.meta.url));
const forms = fileURLToPath(new URL('../../shared/forms/lib/onnx-forms.mjs', import.meta.url));
const stories260k = fileURLToPath(new URL('../../shared/conformance/stories260k/onnx/model_q4.onnx', import.meta.url));

/** A form that exporters write. */
interface Form {
  build(scale: number): unknown;
  pass(graph: unknown): { bytes(): { readonly model: Uint8Array } };
}

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
  browser = await chromium.launch({
    executablePath: findChromium(),
    args: ['--no-sandbox'],
    timeout: BROWSER_PATIENCE_MS,
  });
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

interface Use {
  readonly prompt?: readonly number[];
  readonly steps?: number;
  /** Of the provider. */
  readonly options?: object;
}

async function download(name: string, model: Uint8Array, { prompt, steps, options }: Use = {}): Promise<Downloaded> {
  const path = `/${models.size}.onnx`;
  models.set(path, model);
  const asked: Output[] = [];
  const context = await browser.newContext();
  context.setDefaultTimeout(BROWSER_PATIENCE_MS);
  const tab = await context.newPage();
  tab.on('request', (request) => {
    const file = files.get(new URL(request.url()).pathname);
    if (file && isOurs(file)) asked.push(file);
  });
  await tab.goto(origin);
  await tab.waitForFunction(() => 'load' in globalThis);
  const call = `load(${[path, options, prompt, steps].map((each) => JSON.stringify(each) ?? 'undefined').join()})`;
  const result = (await tab.evaluate(call)) as Pick<Downloaded, 'chosen' | 'where'>;
  await context.close();
  const bytes = asked.reduce((sum, file) => sum + gzipSync((file as Rollup.OutputChunk).code).length, 0);
  console.log(`${name}: ${bytes} bytes gzipped in ${asked.length} requests`);
  return { ...result, bytes, requests: asked.length };
}

/** Gzipped, of all that is downloaded for a language model in MatMulNBits. docs/onnx.md says what it consists of. */
const CEILING = 123_300;
const MOST_REQUESTS = 4;

describe('bytes of code that a session downloads', () => {
  it('the story model, q4', { timeout: 120_000 }, async () => {
    const use = { prompt: storyPrompts()[0]!, steps: 3 };
    const { chosen, where, bytes, requests } = await download('story model, q4', storyModel('q4'), use);
    expect(chosen).toHaveLength(3);
    expect(where).toEqual(['msd']);
    expect(bytes).toBeGreaterThan(10_000);
    expect(bytes).toBeLessThanOrEqual(CEILING);
    expect(requests).toBeLessThanOrEqual(MOST_REQUESTS);
  });

  it.skipIf(!existsSync(stories260k))('stories260k, q4 (skipped without ../shared)', { timeout: 120_000 }, async () => {
    const use = { prompt: [1, 403, 407], steps: 3 };
    const { where, bytes, requests } = await download('stories260k, q4', readFileSync(stories260k), use);
    expect(where).toEqual(['msd']);
    expect(bytes).toBeLessThanOrEqual(CEILING);
    expect(requests).toBeLessThanOrEqual(MOST_REQUESTS);
  });

  it('the recogniser of PP-OCRv4, quantized at load', { timeout: 120_000 }, async () => {
    const { bytes } = await download('PP-OCRv4', readFileSync(recogniser), { options: { quantize: 'int8' } });
    expect(bytes).toBeLessThanOrEqual(190_400);
  });

  it.skipIf(!existsSync(forms)).each([
    ['llama-gqa-q8', 131_700], // with the kernels that pack more than 4 MB of weights
    ['bert-q8', 183_200],
    ['whisper-decoder-q4', 197_600],
  ])('%s (skipped without ../shared)', { timeout: 120_000 }, async (name, ceiling) => {
    const { forms: all } = (await import(forms)) as { readonly forms: Readonly<Record<string, Form>> };
    const { build, pass } = all[name]!;
    const { bytes } = await download(name, new Uint8Array(pass(build(1)).bytes().model));
    expect(bytes).toBeLessThanOrEqual(ceiling);
  });
});
