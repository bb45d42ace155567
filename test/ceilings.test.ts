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
    ['../test/entries/core-page.js', 41_800],
    ['core/dist/index.js', 70_800], // every export of it, attention with its kernels, float16 of arrays
    ['core/dist/backends/webgpu/index.js', 40_000],
    ['core/dist/nn/index.js', 40_300], // every export, with references and WGSL
    ['core/dist/plan/theory.js', 5_000],
    ['onnx/dist/register.js', 40_000],
    ['onnx/dist/execute/create.js', 130_000], // fetched with the first model: core's device, attention and its caches, the compiler of models with what nearly all of them have
    ['../test/entries/tfjs-page.js', 59_000], // with what it shares with the code that stock's loaders need, which is loaded on demand
    ['tfjs/dist/index.js', 141_200], // every export of it, convolutions of graph models and layers; with what it shares with the WebGPU backend, which is loaded on demand
  ])('%s stays below %i bytes', async (entry, ceiling) => {
    const bytes = await gzippedBytes(entry);
    expect(bytes).toBeGreaterThan(1000);
    expect(bytes).toBeLessThanOrEqual(ceiling);
    console.log(`${entry}: ${bytes} bytes gzipped`);
  });
});

/**
 * Chunks of a page with @msd/onnx: of each module of a list the one that it is in, and all others together.
 *
 * @param modules in its dist
 */
async function chunksWith(modules: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const result = await build({
    configFile: false,
    logLevel: 'silent',
    build: {
      write: false,
      modulePreload: false,
      rollupOptions: {
        input: join(packages, 'onnx/dist/register.js'),
        preserveEntrySignatures: 'strict',
        external: ['onnxruntime-web'],
      },
    },
  });
  const outputs = Array.isArray(result) ? result : [result];
  const files = outputs.flatMap((bundle) => ('output' in bundle ? bundle.output : []));
  const sizes = new Map<string, number>();
  for (const file of files) {
    if (file.type !== 'chunk' || file.isEntry) continue;
    const name = modules.find((module) => file.moduleIds.some((id) => id.endsWith(`/dist/${module}.js`))) ?? 'others';
    sizes.set(name, (sizes.get(name) ?? 0) + gzipSync(file.code).length);
  }
  return sizes;
}

describe('chunks of @msd/onnx, gzipped', () => {
  /** By module; docs/onnx.md says which models fetch which. */
  const CEILINGS: Readonly<Record<string, number>> = {
    'execute/create': 110_000, // with all that families share with it
    'execute/expected': 4_500, // fetched by `explain`
    'execute/families/attention': 14_000,
    'execute/families/decoder': 4_000,
    'execute/families/experts': 5_000,
    'execute/families/graphs': 22_700,
    'execute/families/images': 10_500, // with convolutions of several groups
    'execute/families/integers': 5_500,
    'execute/families/products': 11_100,
    'execute/families/rare': 4_500, // fetched for logarithms (of distances, in relative biases), GatherND and outputs that are cast
    'execute/families/recurrent': 6_500,
    'execute/arriving-tensors': 1_500,
    'execute/inlining': 11_500,
    'execute/ort-side': 6_700,
    'execute/pack-threads': 2_900, // in Node, with more than 32 MB of weights
    'execute/twins': 1_200, // fetched for a table whose rows are also a packed matrix
    'execute/warm-model': 1_500, // fetched beside the file of a page's first model
    'program/pack-kernels': 3_200, // fetched with more than 4 MB of weights
    'program/pack-recipe': 1_000, // in Node, with more than 32 MB of weights
    'read/locate': 4_500,
    'threads/pool': 4_600, // with how calls are cut for threads
    others: 21_500, // shared by several: kernels of elementwise functions, rotary embedding, what writes models
  };

  it('are each below their ceilings', async () => {
    const chunks = await chunksWith(Object.keys(CEILINGS));
    expect([...chunks.keys()].sort()).toEqual(Object.keys(CEILINGS).sort());
    console.log([...chunks].map(([name, bytes]) => `${name}: ${bytes}`).join('\n'));
    for (const [name, bytes] of chunks) expect(bytes, name).toBeLessThanOrEqual(CEILINGS[name]!);
  });
});
