/**
 * The WebGPU benchmark in Chromium: `node test/bench/webgpu/browser.ts [--small] [--headed] [--out FILE]`. For another browser leave it running
 * with --serve and open the address that it prints.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright';
import { createServer } from 'vite';
import { findChromium } from '../../../scripts/find-chromium.mjs';

const { values } = parseArgs({
  options: {
    small: { type: 'boolean' },
    headed: { type: 'boolean' },
    serve: { type: 'boolean' },
    out: { type: 'string' },
  },
});
const server = await createServer({
  configFile: false,
  root: fileURLToPath(new URL('.', import.meta.url)),
  logLevel: 'error',
  optimizeDeps: { exclude: ['onnxruntime-web'], include: ['@tensorflow/tfjs-core', '@tensorflow/tfjs-backend-webgpu'] },
  server: {
    fs: { allow: [fileURLToPath(new URL('../../..', import.meta.url))] },
    headers: { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' },
  },
});
await server.listen();
const address = `${server.resolvedUrls!.local[0]}page.html${values.small ? '?small' : ''}`;
if (values.serve) console.log(address);
else {
  const browser = await chromium.launch({
    executablePath: findChromium(),
    headless: !values.headed,
    timeout: 60_000,
    args: ['--no-sandbox', '--enable-unsafe-webgpu', '--enable-dawn-features=allow_unsafe_apis'],
  });
  const page = await browser.newPage();
  page.on('console', (message) => console.log(message.text()));
  await page.goto(address);
  await page.waitForFunction('window.report', undefined, { timeout: 120_000 });
  const report = await page.evaluate('window.report');
  if (values.out) writeFileSync(values.out, `${JSON.stringify(report, null, 2)}\n`);
  await browser.close();
  await server.close();
}
