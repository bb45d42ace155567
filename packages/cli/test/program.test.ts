import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { msd } from './msd.ts';

describe('msd', () => {
  it('shows what there is', async () => {
    const { exitCode, stdout } = await msd(['--help']);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('Usage: msd');
    expect((await msd([])).stdout).toBe(stdout);
  });

  it('says its version', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    expect((await msd(['--version'])).stdout.trim()).toBe(version);
  });

  it('names an option that it does not know, and where to read on', async () => {
    const { exitCode, stdout, stderr } = await msd(['--frobnicate']);
    expect(exitCode).toBe(2);
    expect(stdout).toBe('');
    expect(stderr.trim()).toBe("Unknown option '--frobnicate'. See: msd --help");
  });

  it('says the same as JSON', async () => {
    const { exitCode, stdout, stderr } = await msd(['--frobnicate', '--json']);
    expect(exitCode).toBe(2);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      error: { name: 'UsageError', message: "Unknown option '--frobnicate'. See: msd --help", exitCode: 2 },
    });
  });
});
