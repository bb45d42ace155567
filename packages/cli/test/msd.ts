/** The command line as a user runs it: a process of its own. */
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../src/main.ts', import.meta.url));
/** Node keeps what it compiled there: hundreds of processes start, each in half the time. */
const COMPILED = join(tmpdir(), 'msd-cli-compiled');

export interface Ended {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Called with all of stderr so far whenever more of it comes; `true` presses Ctrl-C. */
  readonly interruptWhen?: (stderr: string) => boolean;
  /** The system lets no file become longer. */
  readonly fileKilobytes?: number | undefined;
  /** A command that runs the one behind it. */
  readonly inside?: readonly string[];
}

/** Runs `msd` with `args`. */
export function msd(
  args: readonly string[],
  { env, cwd, interruptWhen, fileKilobytes, inside = [] }: RunOptions = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const own = [process.execPath, MAIN, ...args];
    // POSIX counts blocks of 512 bytes.
    const limit = ['sh', '-c', `ulimit -f ${2 * (fileKilobytes ?? 0)}; exec "$@"`, 'sh'];
    const [command, ...rest] = [...inside, ...(fileKilobytes === undefined ? [] : limit), ...own];
    // Where the disk is full on purpose, Node writes nothing of its own.
    const isRoomy = fileKilobytes === undefined && inside.length === 0;
    const child = spawn(command!, rest, {
      cwd,
      env: {
        ...process.env,
        NO_COLOR: '1',
        FORCE_COLOR: '0',
        ...(isRoomy && { NODE_COMPILE_CACHE: COMPILED }),
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    let isInterrupted = false;
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      if (interruptWhen?.(stderr) && !isInterrupted) isInterrupted = child.kill('SIGINT');
    });
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}

/** What a command printed with `--json`. */
export async function msdJson<T>(args: readonly string[], options?: RunOptions): Promise<T> {
  const { exitCode, stdout, stderr } = await msd([...args, '--json'], options);
  if (exitCode !== 0) throw new Error(`msd ${args.join(' ')} ended with ${exitCode}: ${stdout}${stderr}`);
  return JSON.parse(stdout) as T;
}
