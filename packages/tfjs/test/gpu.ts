/** Chromium has to have WebGPU here: without it these tests fail. WebKitGTK has none, and Firefox only where a preference or its system allows it. */
export const hasGpu: boolean = navigator.userAgent.includes('Chrome/') || 'gpu' in navigator;

if (!hasGpu) console.log('tests of tfjs on WebGPU are skipped: this browser has none');
