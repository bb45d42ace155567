// The one entry of every root script: `npm start`, `npm test`, `npm run build`, … on a machine with only Node and npm.
//
//   1. fetch the pinned pnpm from the registry into .tools/          (once)
//   2. pnpm install --frozen-lockfile                                 (when the lockfile or a package.json changed)
//   3. turbo build                                                    (cached)
//   4. the job itself, with the pinned Node of node_modules in front on PATH
//
// Plain JavaScript without dependencies: it has to run before anything is installed, on the user's own Node.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const windows = process.platform === 'win32';
const [job, ...args] = process.argv.slice(2);

/**
 * The Node that the user came with. Under npm, `node` is already the pinned one of node_modules, which an install may
 * replace.
 */
const hostNode = process.env.npm_node_execpath ?? process.execPath;

/** Node needed by the tools (vitest 5) and to run TypeScript directly; users of the packages need only >= 20.19. */
const TOOL_NODE = [22, 18];

/**
 * Each job: commands run in order, from the root. `build: false` skips the turbo build; `peers` names a folder whose packages
 * only this job needs.
 */
const jobs = {
  start: { commands: [['node', 'examples/story-model/src/start.ts', ...args]] },
  build: { commands: [] },
  test: {
    commands: [
      ['node', 'scripts/find-chromium.mjs'],
      ['vitest', 'run', ...args],
    ],
  },
  'test:all': {
    commands: [
      ['node', 'scripts/find-chromium.mjs'],
      ['vitest', 'run', ...args],
    ],
    env: { MSD_TEST_ALL: '1' },
  },
  bench: { peers: 'test/bench/peers', commands: [['node', 'test/bench/run.ts', ...args]] },
  train: { commands: [['node', 'examples/story-model/src/train.ts', ...args]] },
  lint: { build: false, commands: [['biome', 'ci', '.', ...args]] },
  typecheck: { commands: [['turbo', 'run', 'typecheck', '--output-logs=errors-only']] },
  api: { commands: [['node', 'scripts/api-report.mjs']] },
  pack: { commands: [['node', 'scripts/pack.mjs']] },
  'check:packages': { commands: [['node', 'scripts/check-packages.mjs']] },
};

function fail(message) {
  console.error(`\n${message}`);
  process.exit(1);
}

function run(command, commandArgs, { env = process.env, quiet = false } = {}) {
  const result = spawnSync(command, commandArgs, {
    cwd: root,
    env,
    shell: windows,
    stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    encoding: 'utf8',
  });
  if (result.error) fail(`bootstrap: could not start ${command}: ${result.error.message}`);
  if (result.status !== 0) {
    if (quiet) console.error(result.stdout + result.stderr);
    if (result.signal) console.error(`bootstrap: ${command} ended by ${result.signal}`);
    process.exit(result.status ?? 1);
  }
}

const pnpmPin = manifest.packageManager; // "pnpm@12.21.0"
const pnpmHome = join(root, '.tools', pnpmPin.replace('@', '-'), 'node_modules');

function pnpmPath() {
  const bin = join(pnpmHome, 'pnpm', 'bin', 'pnpm.mjs');
  if (!existsSync(bin)) {
    console.log(`Fetching ${pnpmPin} from the npm registry …`);
    const prefix = dirname(pnpmHome);
    mkdirSync(prefix, { recursive: true });
    writeFileSync(join(prefix, 'package.json'), '{ "private": true }\n');
    const options = ['--no-audit', '--no-fund', '--no-save', '--loglevel=error'];
    run('npm', ['install', '--prefix', prefix, ...options, pnpmPin], { quiet: true });
  }
  return bin;
}

/** Changes when anything that decides node_modules does. */
function installKey() {
  const hash = createHash('sha256').update(process.platform + process.arch);
  const files = ['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml', 'test/package.json'];
  for (const group of ['packages', 'examples'])
    for (const name of readdirSync(join(root, group)).sort()) files.push(`${group}/${name}/package.json`);
  for (const file of files) if (existsSync(join(root, file))) hash.update(file).update(readFileSync(join(root, file)));
  return hash.digest('hex');
}

function install() {
  const stamp = join(root, 'node_modules', '.msd-installed');
  const key = installKey();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return;
  // A node_modules made by a plain `npm install` has no .modules.yaml; pnpm would have to be talked into replacing it.
  if (existsSync(join(root, 'node_modules')) && !existsSync(join(root, 'node_modules', '.modules.yaml')))
    rmSync(join(root, 'node_modules'), { recursive: true, force: true });
  const pnpm = pnpmPath();
  console.log('Installing the packages of the lockfile …');
  run(hostNode, [pnpm, 'install', '--frozen-lockfile', '--reporter=append-only', '--loglevel=error'], {
    env: { ...process.env, npm_config_loglevel: undefined },
  });
  writeFileSync(stamp, key);
}

/** A folder outside of the workspace, with a lockfile of its own. */
function installPeers(folder) {
  const directory = join(root, folder);
  const stamp = join(directory, 'node_modules', '.msd-installed');
  const key = readFileSync(join(directory, 'pnpm-lock.yaml'), 'utf8');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return;
  console.log('Installing the engines to compare with (about 50 MB) …');
  const options = ['--dir', directory, '--frozen-lockfile', '--reporter=append-only', '--loglevel=error'];
  run(hostNode, [pnpmPath(), ...options, 'install'], { env: { ...process.env, npm_config_loglevel: undefined } });
  writeFileSync(stamp, key);
}

/** PATH with the workspace's tools in front, and among them the pinned Node where the registry has one. */
function toolEnvironment(extra = {}) {
  const bins = [join(root, 'node_modules', '.bin'), join(pnpmHome, '.bin')]; // turbo wants to find pnpm
  const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1', MSD_USER_NODE: hostNode, ...extra };
  const key = Object.keys(env).find((name) => name.toUpperCase() === 'PATH') ?? 'PATH';
  env[key] = [...bins, env[key]].join(delimiter);
  const version = spawnSync('node', ['-p', 'process.versions.node'], {
    env,
    shell: windows,
    encoding: 'utf8',
  }).stdout?.trim();
  const [major, minor] = (version ?? process.versions.node).split('.').map(Number);
  if (major < TOOL_NODE[0] || (major === TOOL_NODE[0] && minor < TOOL_NODE[1]))
    fail(
      `bootstrap: the tools need Node >= ${TOOL_NODE.join('.')}, found ${version}, and the registry has no Node package for ` +
        `${process.platform}-${process.arch}. Install a current Node (https://nodejs.org) and run the same command again.`,
    );
  return env;
}

const task = jobs[job];
if (!task) fail(`bootstrap: unknown job ${job}. One of: ${Object.keys(jobs).join(', ')}`);
install();
if (task.peers && !['kernels', 'nn', 'decoder', 'report', 'readme'].includes(args[0])) installPeers(task.peers);
const env = toolEnvironment(task.env);
if (task.build !== false)
  run('turbo', ['run', 'build', '--output-logs=errors-only', '--log-order=grouped'], { env, quiet: job !== 'build' });
for (const [command, ...commandArgs] of task.commands) run(command, commandArgs, { env });
