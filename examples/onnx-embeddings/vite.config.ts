/** Serves the page, with the toy model and ONNX Runtime's WebAssembly beside it; works from any folder of any static host. */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';
import { BROWSER_CONDITIONS, onnxRuntimeFiles } from '../shared/onnx-runtime.ts';
import { packageFiles, projectLinks } from '../shared/vite.ts';

const toy = (name: string) => fileURLToPath(new URL(`generated/toy/${name}`, import.meta.url));
const TOY_FILES = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'onnx/model_quantized.onnx'];

export default defineConfig({
  base: './',
  resolve: { conditions: BROWSER_CONDITIONS },
  plugins: [
    packageFiles(
      new Map([...TOY_FILES.map((name) => [`models/toy/${name}`, toy(name)] as const), ...onnxRuntimeFiles()]),
    ),
    projectLinks({
      'About this page': 'examples/onnx-embeddings/README.md',
      'In your own app': 'docs/transformers.md',
      'MSD for ONNX models': 'packages/onnx/README.md',
      'How it works': 'docs/msd.md',
    }),
  ],
  worker: { format: 'es' },
  build: { outDir: 'generated/page', emptyOutDir: true, chunkSizeWarningLimit: 2000 },
});
