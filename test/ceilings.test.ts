/** What a page downloads: each entry bundled, minified, gzipped. A ceiling is raised only with a reason in the changelog. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';
import { describe, expect, it } from 'vitest';

const packages = fileURLToPath(new URL('../packages', import.meta.url));

/** Bytes of an entry with all it imports, frameworks aside. */
async function gzippedBytes(entry: string): Promise<number> {
  const result = await build({
    configFile: false,
    logLevel: 'silent',
    build: {
      write: false,
      minify: true,
      lib: { entry: join(packages, entry), formats: ['es'], fileName: 'entry' },
      rollupOptions: { external: ['onnxruntime-web', /^@tensorflow\//] },
    },
  });
  const outputs = Array.isArray(result) ? result : [result];
  const code = outputs.flatMap((bundle) => ('output' in bundle ? bundle.output : []));
  // What is imported dynamically is downloaded when it is asked for, and has a line of its own below.
  const chunks = new Map(code.flatMap((file) => (file.type === 'chunk' ? [[file.fileName, file] as const] : [])));
  const loaded = new Set([...chunks.values()].filter(({ isEntry }) => isEntry).map(({ fileName }) => fileName));
  for (const name of loaded) for (const imported of chunks.get(name)?.imports ?? []) loaded.add(imported);
  return [...loaded].reduce((sum, name) => sum + gzipSync(chunks.get(name)?.code ?? '').length, 0);
}

describe('size, gzipped', () => {
  it.each([
    ['../test/entries/core-page.js', 40_000],
    ['core/dist/index.js', 66_300], // every export of it, attention with its kernels
    ['core/dist/backends/webgpu/index.js', 40_000],
    ['core/dist/nn/index.js', 40_000],
    ['onnx/dist/register.js', 40_000],
    ['onnx/dist/execute/create.js', 220_000], // fetched with the first model: core, every kernel, attention and its caches, the compiler of models with all its forms
    ['../test/entries/tfjs-page.js', 49_000],
    ['tfjs/dist/index.js', 94_300], // every export of it; with what it shares with the WebGPU backend, which is loaded on demand
  ])('%s stays below %i bytes', async (entry, ceiling) => {
    const bytes = await gzippedBytes(entry);
    expect(bytes).toBeGreaterThan(1000);
    expect(bytes).toBeLessThanOrEqual(ceiling);
    console.log(`${entry}: ${bytes} bytes gzipped`);
  });
});
