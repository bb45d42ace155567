/** Serves the page, with the story model and ONNX Runtime's WebAssembly beside it; works from any folder of any static host. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';
import { BROWSER_CONDITIONS, onnxRuntimeFiles } from '../shared/onnx-runtime.ts';
import { packageFiles, projectLinks } from '../shared/vite.ts';

const require = createRequire(import.meta.url);
const storyFolder = join(dirname(require.resolve('@msd-examples/story-model/package.json')), 'generated');
const q8 = fileURLToPath(new URL('generated/story/model_quantized.onnx', import.meta.url));
const STORY_FILES = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'onnx/model.onnx',
  'onnx/model_q4.onnx',
];

export default defineConfig({
  base: './',
  resolve: { conditions: BROWSER_CONDITIONS },
  plugins: [
    packageFiles(
      new Map([
        ...STORY_FILES.map((name) => [`models/story/${name}`, join(storyFolder, name)] as const),
        ['models/story/onnx/model_quantized.onnx', q8] as const,
        ...onnxRuntimeFiles(),
      ]),
    ),
    projectLinks({
      'About this page': 'examples/onnx-story/README.md',
      'In your own app': 'docs/transformers.md',
      'MSD for ONNX models': 'packages/onnx/README.md',
      'The model': 'examples/story-model/README.md',
      'How it works': 'docs/msd.md',
    }),
  ],
  worker: { format: 'es' },
  build: { outDir: 'generated/page', emptyOutDir: true, chunkSizeWarningLimit: 2000 },
});
