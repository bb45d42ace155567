// What a user’s tools will say of the packages: publint and attw on each, the report of what they export, then both
// tarballs in an app of their own outside the workspace, run by plain Node.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { apiReports } from './api-report.mjs';
import { typeFlags } from './outside/type-flags.mjs';
import { pack, publicPackages } from './pack.mjs';

/** Oldest that knows generic typed arrays, and the newest of each later line. */
const TYPESCRIPTS = ['typescript@5.7', 'typescript@5.9', 'typescript@6.0', 'typescript@7.0'];

let failed = 0;
function run(command, args, cwd) {
  const { status } = spawnSync(command, args, { cwd, stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) failed++;
  return status === 0;
}

const packages = publicPackages();

const changed = apiReports({ check: true });
if (changed.length) {
  console.log(`\n${changed.join(', ')}: the public surface differs. npm run api, and review the diff.`);
  failed++;
}

const app = mkdtempSync(join(tmpdir(), 'msd-app-'));
for (const folder of packages) {
  console.log(`\n${folder}`);
  run('publint', ['--strict'], folder);
  run('attw', ['--pack', '.', '--profile', 'esm-only', '--format', 'ascii', '--no-emoji', '--quiet'], folder);
}

console.log('\nan app outside the workspace');
const tarballs = pack(app);
const { version } = JSON.parse(readFileSync('packages/onnx/node_modules/onnxruntime-web/package.json', 'utf8'));
const dependencies = Object.fromEntries(Object.entries(tarballs).map(([name, path]) => [name, `file:${path}`]));
writeFileSync(
  join(app, 'package.json'),
  JSON.stringify({
    private: true,
    type: 'module',
    dependencies: { ...dependencies, 'onnxruntime-web': version },
  }),
);
writeFileSync(join(app, 'app.mjs'), readFileSync('scripts/outside-app.mjs'));
const npmInstall = ['install', '--no-audit', '--no-fund', '--loglevel=error'];
if (run('npm', npmInstall, app))
  // The tools' Node, and the one that the user came with: the packages promise Node >= 20.19.
  for (const node of new Set(['node', process.env.MSD_USER_NODE ?? 'node'])) run(node, [resolve(app, 'app.mjs')], app);

writeFileSync(join(app, 'app.ts'), readFileSync('scripts/outside-app.ts'));
for (const compiler of TYPESCRIPTS) {
  console.log(`types, ${compiler}`);
  if (!run('npm', [...npmInstall, '--no-save', compiler], app)) continue;
  for (const flags of typeFlags)
    run('npx', ['--no-install', 'tsc', ...flags, '--skipLibCheck', 'false', 'app.ts'], app);
}
console.log('pages: Vite, webpack, esbuild, script tags');
run('node', ['scripts/outside-bundlers.mjs', app]);
console.log('the command line');
run('node', ['scripts/outside-cli.mjs', app]);
console.log('Transformers.js on MSD');
run('node', ['scripts/outside-transformers.mjs', tarballs['@msd/core'], tarballs['@msd/onnx']]);
rmSync(app, { recursive: true, force: true });

console.log(failed ? `\n${failed} package checks failed` : '\nAll package checks passed');
process.exit(failed ? 1 : 0);
