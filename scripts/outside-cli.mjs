// `npx msd` in an app outside the workspace, as installed from tarballs: node scripts/outside-cli.mjs APP_FOLDER
// One command of each kind, with the tools' Node and with the one that the user came with.
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const app = process.argv[2];
const model = join(app, 'story');
cpSync('examples/story-model/generated', model, { recursive: true });
const main = resolve(app, 'node_modules/@msd/cli/dist/main.js');

let failed = 0;
/** @param expect of exit code and what it printed; a reason if that is wrong */
function check(name, [command, ...args], expect) {
  const env = { ...process.env, NO_COLOR: '1', MSD_CACHE: join(app, 'cache') };
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: app, env, encoding: 'utf8' });
  const wrong = expect(status, stdout, stderr);
  console.log(`msd: ${name}: ${wrong ?? 'passed'}`);
  if (wrong === undefined) return;
  console.log(stdout, stderr);
  failed++;
}

const ended = (status) => (status === 0 ? undefined : `ended with ${status}`);
const json = (read) => (status, stdout) => ended(status) ?? read(JSON.parse(stdout));

const { version } = JSON.parse(readFileSync('packages/cli/package.json', 'utf8'));
check('npx', ['npx', '--no-install', 'msd', '--version'], (status, stdout) =>
  stdout.trim() === version ? ended(status) : `expected ${version}`,
);
for (const node of new Set([process.execPath, process.env.MSD_USER_NODE ?? process.execPath])) {
  const measured = json(({ models: [{ times, whole }] }) =>
    times === 'measured' && whole === undefined ? undefined : `${times}, ${whole}`,
  );
  check('inspect', [node, main, 'inspect', model, '--tokens', '16', '--threads', '1', '--json'], measured);
  const wrote = json(({ same }) =>
    same.identicalTokens[0] === 20 ? undefined : `${same.identicalTokens} of 20 tokens`,
  );
  const prompt = ['--prompt', 'Once upon a time', '--tokens', '20', '--threads', '1', '--plain', '--json'];
  check('run', [node, main, 'run', model, ...prompt], wrote);
  const peaks = json((result) => (result.peaks.dotGmacs > 0 ? undefined : 'no peaks'));
  check('bench', [node, main, 'bench', '--peaks', '--json'], peaks);
  check('an unknown option', [node, main, 'run', model, '--frob'], (status, _, stderr) =>
    status === 2 && stderr.includes("Unknown option '--frob'") ? undefined : `ended with ${status}`,
  );
}
process.exit(failed ? 1 : 0);
