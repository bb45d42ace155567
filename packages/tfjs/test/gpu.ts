/** Chromium always has WebGPU; WebKitGTK has none, and Firefox only where a preference or its system allows it. */
export const hasGpu: boolean = 'gpu' in navigator;

if (!hasGpu) console.log('tests of tfjs on WebGPU are skipped: this browser has none');
