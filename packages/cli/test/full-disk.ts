/** A disk that is really full: a small file system in memory, in a mount namespace of its own, which goes with the command. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Ended, msd, type RunOptions } from './msd.ts';

/** What `unshare` is told: with a user namespace, where everybody may have one; without, as root. */
const NAMESPACES = [['-Urm'], ['-m']] as const;

const MOUNT = 'mount -t tmpfs -o size="$1"k none "$0"';

/** `undefined` where nothing can be mounted: not on Linux, or in a container that forbids it. */
function unshareFlags(): readonly string[] | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'msd-disk-'));
  const flags = NAMESPACES.find(
    (each) => spawnSync('unshare', [...each, 'sh', '-c', `${MOUNT} && test -d "$0"`, folder, '100']).status === 0,
  );
  rmSync(folder, { recursive: true });
  return flags;
}

const flags = unshareFlags();
/** May a test mount a disk? */
export const canMount = flags !== undefined;
if (!canMount) console.log('full disks SKIPPED: nothing can be mounted here');

/** Fills the disk as soon as a file of the result is begun. */
const FILL = `while [ -z "$(find "$disk" -name '*.part')" ]; do sleep 0.01; done; cat /dev/zero > "$disk/filler"`;

export interface OnDisk extends Ended {
  /** Files on the disk afterwards, but for what filled it. */
  readonly left: readonly string[];
}

/**
 * Runs `msd` while `folder` is a disk of `kilobytes`.
 *
 * @param when is it filled: at the start, when a result is begun, never by others
 */
export async function msdOnDisk(
  folder: string,
  kilobytes: number,
  when: 'before' | 'during' | 'never',
  args: readonly string[],
  options?: RunOptions,
): Promise<OnDisk> {
  const own = mkdtempSync(join(tmpdir(), 'msd-disk-'));
  const list = join(own, 'list');
  const fill = { before: 'cat /dev/zero > "$disk/filler" 2> /dev/null', during: `(${FILL}) 2> /dev/null &`, never: '' };
  const script = `disk="$0"; list="$2"; ${MOUNT} || exit 99
shift 2
${fill[when]}
"$@"
code=$?
(cd "$disk" && find . -type f ! -name filler) > "$list"
kill $! 2> /dev/null
exit $code`;
  const inside = ['unshare', ...flags!, 'sh', '-c', script, folder, `${kilobytes}`, list];
  const ended = await msd(args, { ...options, inside });
  const left = readFileSync(list, 'utf8').split('\n').filter(Boolean);
  rmSync(own, { recursive: true });
  return { ...ended, left };
}
