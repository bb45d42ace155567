/** The WebGPU benchmark in a page: `window.report` resolves to its result. */
import { sizes } from './layers.ts';
import { runGpuSuite } from './suite.ts';

const size = new URLSearchParams(location.search).has('small') ? 'small' : 'full';
const show = (text: string) => document.querySelector('pre')!.append(`${text}\n`);
const line = (text: string) => {
  console.log(text);
  show(text);
};

async function run() {
  const ort = await import('onnxruntime-web/webgpu');
  ort.env.wasm.numThreads = 1;
  const tensorFlow = await import('./tfjs-page.js');
  const report = await runGpuSuite({
    gpu: navigator.gpu,
    ...sizes[size],
    ort,
    tensorFlow,
    log: line,
  });
  return { date: new Date().toISOString().slice(0, 10), runtime: navigator.userAgent, ...report };
}

const report = run();
report.then(
  (result) => show(`\n${JSON.stringify(result, null, 2)}`),
  (error) => line(String(error)),
);
Object.assign(window, { report });
