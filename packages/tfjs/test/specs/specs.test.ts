/**
 * tfjs-core's own specs, as npm ships them, with MSD registered and `override: true`: whatever stock tfjs passes, it has to
 * pass. In the long tier.
 */
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { beforeAll, describe, expect, it } from 'vitest';

const require = createRequire(import.meta.url);
const folder = fileURLToPath(new URL('../../generated/specs', import.meta.url));
const wasmFolder = `${join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist')}/`;

interface Outcome {
  readonly passed: readonly string[];
  readonly failed: readonly string[];
}

function run(backend: string, side: string): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(folder, 'run.mjs'), backend, side, wasmFolder], {
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

describe.runIf(process.env.MSD_TEST_ALL === '1')(
  'tfjs-core’s own specs with MSD registered',
  { timeout: 900_000 },
  () => {
    beforeAll(async () => {
      mkdirSync(folder, { recursive: true });
      await build({
        configFile: false,
        logLevel: 'error',
        resolve: { mainFields: ['module', 'main'] },
        // tfjs-core declares its specs free of side effects, and they would be left out.
        plugins: [
          {
            name: 'keep-specs',
            transform: (code, id) =>
              /_test\.js$|tests\.js$/.test(id) ? { code, map: null, moduleSideEffects: true } : null,
          },
        ],
        ssr: { noExternal: true, external: ['jasmine-core'] },
        build: {
          ssr: fileURLToPath(new URL('./run.ts', import.meta.url)),
          outDir: folder,
          minify: false,
          rollupOptions: { output: { entryFileNames: 'run.mjs' } },
        },
      });
    }, 300_000);

    it.each(['cpu', 'wasm'])('pass on %s where stock passes', async (backend) => {
      const [stock, msd] = [await run(backend, 'stock'), await run(backend, 'msd')];
      console.log(
        `${backend}: stock ${stock.passed.length} passed, ${stock.failed.length} failed; MSD ${msd.passed.length} passed`,
      );
      expect(stock.passed.length).toBeGreaterThan(backend === 'cpu' ? 4000 : 2000);
      const passed = new Set(msd.passed);
      expect(stock.passed.filter((name) => !passed.has(name))).toEqual([]);
    });
  },
);
