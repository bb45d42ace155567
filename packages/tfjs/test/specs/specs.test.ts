/**
 * tfjs-core's own specs, as npm ships them, with MSD registered and `override: true`: whatever stock tfjs passes, it has to
 * pass. All of them on cpu and wasm, in the long tier; on webgpu in Chromium those of the operations concerned.
 */
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright';
import { build, type InlineConfig, type PreviewServer, preview } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BROWSER_PATIENCE_MS, findChromium } from '../../../../scripts/find-chromium.mjs';
import type { Outcome, Side } from './jasmine.ts';
import type { SpecPage } from './page.ts';

const require = createRequire(import.meta.url);
const here = fileURLToPath(new URL('.', import.meta.url));
const folder = fileURLToPath(new URL('../../generated/specs', import.meta.url));
const wasmFolder = `${join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist')}/`;

const shared: InlineConfig = {
  configFile: false,
  root: here,
  logLevel: 'error',
  resolve: { mainFields: ['module', 'main'] },
  plugins: [
    {
      // tfjs-core declares its specs free of side effects, and they would be left out.
      name: 'keep-specs',
      transform: (code, id) => (/_test\.js$|tests\.js$/.test(id) ? { code, map: null, moduleSideEffects: true } : null),
    },
  ],
};

function runInNode(backend: string, side: Side): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(folder, 'node/run.mjs'), backend, side, wasmFolder], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [output, errors] = ['', ''];
    child.stdout.on('data', (data: Buffer) => {
      output += data.toString();
    });
    child.stderr.on('data', (data: Buffer) => {
      errors += data.toString();
    });
    child.on('close', (code) => {
      const line = output.trim().split('\n').at(-1) ?? '';
      if (code === 0 && line.startsWith('{')) resolve(JSON.parse(line));
      else reject(new Error(`ended with ${code}: ${errors.slice(-3000)}\n${output.slice(-500)}`));
    });
  });
}

/** A browser of its own for each side: what one leaves registered must not help the other. */
async function runInChromium(url: string, side: Side): Promise<Outcome> {
  const args = ['--no-sandbox', '--enable-unsafe-webgpu'];
  const browser = await chromium.launch({ executablePath: findChromium(), args, timeout: BROWSER_PATIENCE_MS });
  try {
    const page = await browser.newPage();
    page.setDefaultTimeout(BROWSER_PATIENCE_MS);
    const errors: string[] = [];
    page.on('pageerror', ({ message }) => errors.push(message));
    await page.goto(url);
    await page.waitForFunction('globalThis.specs').catch((cause: unknown) => {
      throw new Error(`the page did not load: ${errors.join('; ')}`, { cause });
    });
    await page.addScriptTag({ path: require.resolve('jasmine-core/lib/jasmine-core/jasmine.js') });
    return await page.evaluate((given) => (globalThis as unknown as { specs: SpecPage }).specs.run(given), side);
  } finally {
    await browser.close();
  }
}

async function compare(name: string, run: (side: Side) => Promise<Outcome>, atLeast: number): Promise<void> {
  const [stock, msd] = [await run('stock'), await run('msd')];
  console.log(
    `${name}: stock ${stock.passed.length} passed, ${Object.keys(stock.failed).length} failed; MSD ${msd.passed.length} passed`,
  );
  expect(stock.passed.length).toBeGreaterThan(atLeast);
  const passed = new Set(msd.passed);
  const lost = stock.passed.filter((spec) => !passed.has(spec));
  expect(lost.map((spec) => `${spec}: ${msd.failed[spec] ?? 'did not run'}`)).toEqual([]);
}

describe.runIf(process.env.MSD_TEST_ALL === '1')(
  'tfjs-core’s own specs with MSD registered',
  { timeout: 900_000 },
  () => {
    beforeAll(async () => {
      mkdirSync(folder, { recursive: true });
      await build({
        ...shared,
        ssr: { noExternal: true, external: ['jasmine-core'] },
        build: {
          ssr: join(here, 'run.ts'),
          outDir: join(folder, 'node'),
          minify: false,
          rollupOptions: { output: { entryFileNames: 'run.mjs' } },
        },
      });
    }, 300_000);

    it.each([
      ['cpu', 4000],
      ['wasm', 2000],
    ] as const)('pass on %s where stock passes', async (backend, atLeast) => {
      await compare(backend, (side) => runInNode(backend, side), atLeast);
    });
  },
);

describe('tfjs-core’s specs of matMul, einsum and look-ups with MSD registered', { timeout: 300_000 }, () => {
  let server: PreviewServer;
  beforeAll(async () => {
    const outDir = join(folder, 'page');
    await build({
      ...shared,
      build: { outDir, emptyOutDir: true, minify: false, rollupOptions: { input: join(here, 'page.html') } },
    });
    const served = { outDir };
    server = await preview({
      configFile: false,
      logLevel: 'silent',
      build: served,
      preview: { port: 0, host: '127.0.0.1' },
    });
  }, 120_000);
  afterAll(async () => server?.close());

  it('pass on webgpu in Chromium where stock passes', async () => {
    const url = new URL('page.html', server.resolvedUrls?.local[0]).href;
    await compare('webgpu', (side) => runInChromium(url, side), 100);
  });
});
