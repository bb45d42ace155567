/** Overlapping runs in the bundles of browsers: the default one refuses them, and breaks both. */
import { it } from 'vitest';
import { overlaps } from './overlap.ts';

it.each([
  ['onnxruntime-web', () => import('onnxruntime-web')],
  ['onnxruntime-web/wasm', () => import('onnxruntime-web/wasm')],
  ['onnxruntime-web/webgpu', () => import('onnxruntime-web/webgpu')],
])('%s: runs, creations and releases may overlap', async (_, load) => {
  await overlaps(await load());
});
