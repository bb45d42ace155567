/** A GPU for tests: the browser's, or in Node that of the npm package `webgpu` on whatever Vulkan driver there is. */
import type { Gpu } from '../src/backends/webgpu/api.ts';

const inBrowser = typeof document !== 'undefined';

async function findGpu(): Promise<Gpu | undefined> {
  if (inBrowser) return (navigator as { gpu?: Gpu }).gpu;
  const name = 'webgpu'; // not for a browser's bundler
  try {
    const { create } = await import(/* @vite-ignore */ name);
    return create(['disable-dawn-features=timestamp_quantization']);
  } catch (error) {
    console.log(`The npm package webgpu does not run here: ${error}`);
    return undefined;
  }
}

/** `undefined` where there is no adapter: says so once, and the tests that ask for it are skipped. */
export async function testGpu(): Promise<Gpu | undefined> {
  const gpu = await findGpu();
  const adapter = await gpu?.requestAdapter();
  if (adapter) return gpu;
  console.log(
    `WebGPU tests are skipped: ${inBrowser ? 'this browser has no adapter' : 'no Vulkan driver was found (libvulkan1 and an ICD such as Chromium’s SwiftShader)'}.`,
  );
  return undefined;
}
