// What a user’s tools will say of the packages: publint and attw on each, the report of what they export, then the
// tarballs in apps of their own outside the workspace. Lanes that have nothing to do with each other run at the same time: they wait
// for the registry more than they compute. What a lane printed comes in one piece when it ends.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { apiReports } from './api-report.mjs';
import { typeFlags } from './outside/type-flags.mjs';
import { pack, publicPackages } from './pack.mjs';

/** Oldest that knows generic typed arrays, and the newest of each later line. */
const TYPESCRIPTS = ['5.7', '5.9', '6.0', '7.0'];

let failed = 0;

/** Commands one after the other. */
class Lane {
  output = '';

  say(line) {
    this.output += `${line}\n`;
  }

  /** @returns whether it ended well */
  run(command, args, cwd) {
    return new Promise((done) => {
      const child = spawn(command, args, { cwd, shell: process.platform === 'win32' });
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text) => {
          this.output += text;
        });
      child.on('error', (error) => this.say(`${command}: ${error.message}`));
      child.on('close', (status) => {
        if (status !== 0) {
          failed++;
          this.say(`${[command, ...args].join(' ')} ended with ${status}`);
        }
        done(status === 0);
      });
    });
  }
}

async function lane(name, work) {
  const started = performance.now();
  const own = new Lane();
  try {
    await work(own);
  } catch (error) {
    failed++;
    own.say(error.stack);
  }
  console.log(`\n${name} (${((performance.now() - started) / 1000).toFixed(0)} s)\n${own.output}`);
}

const packages = publicPackages();
const app = mkdtempSync(join(tmpdir(), 'msd-app-'));
const tarballs = pack(app);

async function manifests(own) {
  const changed = apiReports({ check: true });
  if (changed.length) {
    own.say(`${changed.join(', ')}: the public surface differs. npm run api, and review the diff.`);
    failed++;
  }
  for (const folder of packages) {
    own.say(folder);
    await own.run('publint', ['--strict'], folder);
    await own.run(
      'attw',
      ['--pack', '.', '--profile', 'esm-only', '--format', 'ascii', '--no-emoji', '--quiet'],
      folder,
    );
  }
}

async function outsideApp(own) {
  const { version } = JSON.parse(readFileSync('packages/onnx/node_modules/onnxruntime-web/package.json', 'utf8'));
  const local = Object.fromEntries(Object.entries(tarballs).map(([name, path]) => [name, `file:${path}`]));
  const dependencies = { ...local, 'onnxruntime-web': version };
  writeFileSync(join(app, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies }));
  writeFileSync(join(app, 'app.mjs'), readFileSync('scripts/outside-app.mjs'));
  const npmInstall = ['install', '--no-audit', '--no-fund', '--loglevel=error'];
  if (await own.run('npm', npmInstall, app))
    // The tools' Node, and the one that the user came with: the packages promise Node >= 20.19.
    for (const node of new Set(['node', process.env.MSD_USER_NODE ?? 'node']))
      await own.run(node, [resolve(app, 'app.mjs')], app);

  writeFileSync(join(app, 'app.ts'), readFileSync('scripts/outside-app.ts'));
  const named = TYPESCRIPTS.map((line) => `typescript-${line}@npm:typescript@${line}`);
  if (await own.run('npm', [...npmInstall, '--no-save', ...named], app))
    for (const line of TYPESCRIPTS) {
      own.say(`types, TypeScript ${line}`);
      const tsc = join(app, `node_modules/typescript-${line}/bin/tsc`);
      for (const flags of typeFlags) await own.run('node', [tsc, ...flags, '--skipLibCheck', 'false', 'app.ts'], app);
    }
  own.say('pages: Vite, webpack, esbuild, script tags');
  await own.run('node', ['scripts/outside-bundlers.mjs', app]);
  own.say('the command line');
  await own.run('node', ['scripts/outside-cli.mjs', app]);
}

await Promise.all([
  lane('publint, attw and the public surface', manifests),
  lane('an app outside the workspace', outsideApp),
  lane('Transformers.js on MSD', (own) =>
    own.run('node', ['scripts/outside-transformers.mjs', tarballs['@msd/core'], tarballs['@msd/onnx']]),
  ),
]);
rmSync(app, { recursive: true, force: true });

console.log(failed ? `\n${failed} package checks failed` : '\nAll package checks passed');
process.exit(failed ? 1 : 0);
