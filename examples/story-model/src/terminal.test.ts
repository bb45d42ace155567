import { expect, it } from 'vitest';
import { Progress } from './terminal.ts';

const recorder = (isTTY: boolean) => {
  const pieces: string[] = [];
  return { isTTY, columns: 20, pieces, write: (text: string) => pieces.push(text) > 0 };
};

it('redraws one line on a terminal and takes it away', () => {
  const screen = recorder(true);
  const progress = new Progress(screen);
  progress.update('Measuring', 'round 2 of 2, which is a long story');
  expect(screen.pieces.join('')).toContain('Measuring round 2 o');
  expect(screen.pieces.join('')).not.toContain('Measuring round 2 of');
  progress.clear();
  expect(screen.pieces.at(-1)).toBe('\r\x1b[2K');
});

it('writes one line per stage into a pipe', () => {
  const pipe = recorder(false);
  const progress = new Progress(pipe);
  for (const detail of ['1', '2', '3']) progress.update('Measuring', detail);
  progress.update('Comparing');
  expect(pipe.pieces.join('')).toBe('Measuring …\nComparing …\n');
});
