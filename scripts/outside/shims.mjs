// Packages that stand in for those of ONNX Runtime: the recipe in docs/transformers.md, two files beside the app.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** In place of what, what. */
export const SHIMS = [
  ['onnxruntime-web', '@msd/onnx/ort-web/webgpu'],
  ['onnxruntime-node', '@msd/onnx/ort-web'],
];

/** @param {string} folder of the app @param {string} name of the package @param {string} entry of MSD's */
export function writeShim(folder, name, entry) {
  mkdirSync(join(folder, name), { recursive: true });
  const exports = { '.': './index.js', './webgpu': './index.js' };
  writeFileSync(
    join(folder, name, 'package.json'),
    JSON.stringify({ name, version: '1.30.0', type: 'module', exports }),
  );
  writeFileSync(join(folder, name, 'index.js'), `export * from '${entry}';\nexport { default } from '${entry}';\n`);
}
