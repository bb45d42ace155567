// Packs every public package and asks publint and attw whether other people's bundlers and compilers will be happy.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

let failed = 0;
function run(command, args, cwd) {
  const { status } = spawnSync(command, args, { cwd, stdio: 'inherit', shell: process.platform === 'win32' });
  if (status !== 0) failed++;
}

for (const name of readdirSync('packages')) {
  const cwd = join('packages', name);
  const { private: internal } = JSON.parse(readFileSync(join(cwd, 'package.json'), 'utf8'));
  if (internal) continue;
  console.log(`${name}: publint, attw`);
  run('publint', ['--strict'], cwd);
  run('attw', ['--pack', '.', '--profile', 'esm-only', '--format', 'table-flipped'], cwd);
}
process.exit(failed ? 1 : 0);
