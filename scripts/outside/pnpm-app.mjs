// An app that pnpm installed, with an onnxruntime-web of its own: two copies, and nothing that a package does not ask for itself.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SHIMS, writeShim } from './shims.mjs';

/**
 * @param {string} app folder in which it is made
 * @param {string} core tarball of @msd/core
 * @param {string} onnx tarball of @msd/onnx
 * @param {boolean} [isOverridden] Transformers.js gets MSD's modules in place of both its ONNX Runtimes
 * @returns {string} folder of the new app
 */
export function pnpmApp(app, core, onnx, isOverridden = false) {
  const folder = join(app, isOverridden ? 'pnpm-override' : 'pnpm');
  mkdirSync(folder, { recursive: true });
  const dependencies = {
    '@huggingface/transformers': '4.3.2',
    '@msd/onnx': `file:${onnx}`,
    esbuild: '0.28',
    'onnxruntime-web': '1.30.0',
  };
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies }));
  const overrides = [`'@msd/core': 'file:${core}'`];
  if (isOverridden)
    for (const [name, entry] of SHIMS) {
      writeShim(folder, name, entry);
      overrides.push(`'@huggingface/transformers>${name}': 'link:./${name}'`);
    }
  writeFileSync(
    join(folder, 'pnpm-workspace.yaml'),
    `overrides:\n  ${overrides.join('\n  ')}\nignoreScripts: true\npmOnFail: ignore\n`,
  );
  const { status, stdout, stderr } = spawnSync('pnpm', ['install', '--no-frozen-lockfile'], {
    cwd: folder,
    encoding: 'utf8',
  });
  const said = stdout + stderr;
  if (status !== 0) throw new Error(`pnpm install: ${said}`);
  // Prereleases that Transformers.js pins are as good as any.
  if (/peer/i.test(said)) throw new Error(`pnpm install: expected nothing about peers, got ${said}`);
  return folder;
}
