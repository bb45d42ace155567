import { existsSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { playwright } from '@vitest/browser-playwright';
import { defineConfig } from 'vitest/config';
import { BROWSER_PATIENCE_MS, findChromium } from './scripts/find-chromium.mjs';
import LongestFirst from './scripts/longest-first.ts';
import { otherBrowser, webdriver } from './scripts/vitest-webdriver.ts';

// WebGPU in Node: Chromium's own software driver, unless another is named. Here, in the main process, because the Vulkan loader
// reads the environment that a process starts with. The second silences libwayland.
const softwareVulkan = '/usr/lib/chromium/vk_swiftshader_icd.json';
if (!process.env.VK_ICD_FILENAMES && !process.env.VK_DRIVER_FILES && existsSync(softwareVulkan))
  process.env.VK_ICD_FILENAMES = softwareVulkan;
process.env.XDG_RUNTIME_DIR ??= tmpdir();

/** Tests in pages run in Chromium, and by hand in another browser. */
const other = otherBrowser(process.env.MSD_BROWSER);

const launchOptions = {
  executablePath: findChromium(),
  timeout: BROWSER_PATIENCE_MS,
  // The first is needed as root, the second for a software WebGPU adapter; the rest keep an offline machine quiet.
  args: [
    '--no-sandbox',
    '--enable-unsafe-webgpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
};

const carrier = process.env.MSD_CARRIER;
// Where that changes nothing: what multiplies on a GPU, and in processes and pages of its own, which are not told of it.
const sameForEveryCarrier = ['**/*.webgpu.test.ts', 'packages/tfjs/test/heap.test.ts', 'packages/tfjs/test/specs/**'];

export default defineConfig({
  optimizeDeps: { exclude: ['onnxruntime-web'] }, // keeps its import.meta.url next to its .wasm
  server: { headers: { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' } },
  test: {
    reporters: ['default', './scripts/count-reporter.ts'],
    // For a machine that is half as fast and has twice as much to do: no test takes as long as a quarter of this without saying so.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    retry: 1, // among ten thousand, one may meet a busy moment; count-reporter.ts lists what needed it
    // Two even on two cores, where the default is one: the engines wait for each other more than they compute.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: 'node',
          environment: 'node',
          include: ['packages/*/{src,test}/**/*.test.ts', 'examples/*/src/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: [
            '**/*.browser.test.ts',
            '**/node_modules/**',
            '**/dist/**',
            ...(carrier ? sameForEveryCarrier : []),
          ],
          setupFiles: carrier ? ['./test/carrier.ts'] : [],
        },
      },
      {
        extends: true,
        test: {
          name: other ?? 'chromium',
          include: ['{packages,examples,test}/**/*.browser.test.ts'],
          globalSetup: ['packages/tfjs/test/model-server.ts'],
          env: { MSD_TEST_ALL: process.env.MSD_TEST_ALL }, // a page has no environment of its own
          exclude: ['**/node_modules/**', '**/dist/**'],
          browser: {
            enabled: true,
            headless: true,
            connectTimeout: BROWSER_PATIENCE_MS,
            screenshotFailures: false,
            provider: other ? webdriver(other) : playwright({ launchOptions }),
            instances: [{ browser: other ?? 'chromium' }],
          },
        },
      },
    ],
  },
});
