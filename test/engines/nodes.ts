/**
 * Node in other versions and for another processor, from the npm registry into .tools/ (once), as the bootstrap does for
 * the pinned one.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The newest of each line that the packages support; the last is the one of the tools. */
export const NODE_20 = '20.20.2';
export const NODE_22 = '22.23.3';
export const NODE_24 = '24.21.0';

const run = promisify(execFile);
const cache = fileURLToPath(new URL('../../.tools/engines/', import.meta.url));

/** Why an engine cannot be had here. */
export interface Unavailable {
  readonly unavailable: string;
}

/** How to start an engine. */
export type Command = { readonly file: string; readonly args: readonly string[] } | Unavailable;

/** Fetched into a folder that gets its name when it is complete. */
async function once(name: string, fetch: (folder: string) => Promise<unknown>): Promise<string> {
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.partial-${process.pid}`;
  mkdirSync(partial, { recursive: true });
  try {
    await fetch(partial);
    renameSync(partial, folder);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
  return folder;
}

async function nodeBinary(version: string, arch: string): Promise<string> {
  const name = `node-${process.platform === 'win32' ? 'win' : process.platform}-${arch}`;
  const folder = await once(`${name}-${version}`, async (into) => {
    console.log(`Fetching ${name}@${version} from the npm registry …`);
    writeFileSync(join(into, 'package.json'), '{ "private": true }\n');
    // --force: the processor need not be this machine's.
    const options = ['--no-audit', '--no-fund', '--no-save', '--loglevel=error', '--force'];
    await run('npm', ['install', '--prefix', into, ...options, `${name}@${version}`], {
      shell: process.platform === 'win32',
    });
  });
  return join(folder, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
}

/** A Node of this machine's kind; the running one if the version is its own. */
export async function nodeCommand(version: string, flags: readonly string[] = []): Promise<Command> {
  if (version === process.versions.node) return { file: process.execPath, args: flags };
  try {
    return { file: await nodeBinary(version, process.arch), args: flags };
  } catch (error) {
    return { unavailable: `npm has no Node ${version} for ${process.platform}-${process.arch}: ${firstLine(error)}` };
  }
}

/** An aarch64 Node: emulated by qemu-user with Debian's libraries, except where it is this machine's own kind. */
export async function aarch64Command(version: string): Promise<Command> {
  if (process.arch === 'arm64') return nodeCommand(version);
  if (process.platform !== 'linux') return { unavailable: `qemu-user emulates on Linux, not on ${process.platform}` };
  const qemu = ['qemu-aarch64', 'qemu-aarch64-static'].find((name) => spawnSync(name, ['--version']).status === 0);
  if (!qemu) return { unavailable: 'qemu-aarch64 is not installed (Debian, Ubuntu: apt-get install qemu-user)' };
  if (spawnSync('apt-get', ['--version']).status !== 0)
    return { unavailable: 'the libraries of aarch64 come from apt, which this system does not have' };
  try {
    const sysroot = await once('aarch64-libraries', fetchLibraries);
    return { file: qemu, args: ['-L', sysroot, await nodeBinary(version, 'arm64')] };
  } catch (error) {
    return { unavailable: `an aarch64 Node or its libraries could not be fetched: ${firstLine(error)}` };
  }
}

/** What Node links to. apt gets lists of its own, so that it needs no root and the system keeps its architectures. */
async function fetchLibraries(folder: string): Promise<void> {
  const apt = join(folder, 'apt');
  for (const path of ['lists/partial', 'cache/archives/partial', 'packages'])
    mkdirSync(join(apt, path), { recursive: true });
  writeFileSync(join(apt, 'status'), '');
  const options = [
    'APT::Architecture=arm64',
    'APT::Architectures=arm64',
    'APT::Sandbox::User=',
    `Dir::State=${apt}`,
    `Dir::State::status=${join(apt, 'status')}`,
    `Dir::Cache=${join(apt, 'cache')}`,
  ].flatMap((option) => ['-o', option]);
  const packages = join(apt, 'packages');
  await run('apt-get', [...options, '-q', 'update']);
  const libraries = ['libc6', 'libstdc++6', 'libgcc-s1', 'libatomic1'];
  await run('apt-get', [...options, '-q', 'download', ...libraries], { cwd: packages });
  for (const file of readdirSync(packages)) await run('dpkg', ['-x', join(packages, file), folder]);
  rmSync(apt, { recursive: true });
}

function firstLine(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message: string };
  return (stderr || message).trim().split('\n')[0] as string;
}
