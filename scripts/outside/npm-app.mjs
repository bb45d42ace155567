// An app that npm installed, with packages of its own in the place of ONNX Runtime's: `overrides` for Transformers.js alone.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SHIMS, writeShim } from './shims.mjs';

/**
 * @param {string} app folder in which it is made
 * @param {string} core tarball of @msd/core
 * @param {string} onnx tarball of @msd/onnx
 * @returns {string} folder of the new app
 */
export function overriddenByNpm(app, core, onnx) {
  const folder = join(app, 'npm-override');
  mkdirSync(folder, { recursive: true });
  const own = {};
  for (const [name, entry] of SHIMS) {
    writeShim(folder, name, entry);
    npm(folder, 'pack', `./${name}`);
    // npm takes a path in `overrides` from the folder of the package whose dependency it is. A link to the folder itself would be gone
    // with the next install.
    own[name] = `file:../../../${name}-1.30.0.tgz`;
  }
  const dependencies = {
    '@huggingface/transformers': '4.3.2',
    '@msd/core': `file:${core}`,
    '@msd/onnx': `file:${onnx}`,
    esbuild: '0.28',
    'onnxruntime-web': '1.30.0',
  };
  const overrides = { '@huggingface/transformers': own };
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ private: true, type: 'module', dependencies, overrides }),
  );
  // The second one finds what the first one left.
  for (let i = 0; i < 2; i++) npm(folder, 'install', '--no-audit', '--no-fund', '--ignore-scripts');
  return folder;
}

function npm(cwd, ...args) {
  const { status, stderr } = spawnSync('npm', [...args, '--loglevel=warn'], { cwd, encoding: 'utf8' });
  if (status !== 0 || /peer/i.test(stderr)) throw new Error(`npm ${args.join(' ')}: ${stderr}`);
}
