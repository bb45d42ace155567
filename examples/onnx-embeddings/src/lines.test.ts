/** Which files are taken as lines of text. */
import { expect, it } from 'vitest';
import { linesOf, MAX_LINES } from '../../shared/search/lines.ts';

const file = (...parts: BlobPart[]) => new File(parts, 'notes.txt');

it('takes lines with text in them, whatever ends them', async () => {
  const { lines, what } = await linesOf(file('\ufeffone \r\n\r\n two\rthree\n'));
  expect(lines).toEqual(['one', 'two', 'three']);
  expect(what).toBe('3 lines of notes.txt');
  expect((await linesOf(file('one'))).what).toBe('1 line of notes.txt');
});

it('takes the first lines of a long file, and whole ones', async () => {
  const many = await linesOf(file('line\n'.repeat(MAX_LINES + 1)));
  expect([many.lines.length, many.what]).toEqual([MAX_LINES, `The first ${MAX_LINES} lines of notes.txt`]);
  const large = await linesOf(file('a\n', 'b'.repeat(5_000_000), '\n', 'c'.repeat(5_000_000)));
  expect([large.lines.length, large.what]).toEqual([2, 'The first 2 lines of notes.txt']);
});

it.each<[string, File, RegExp]>([
  ['nothing', file(), /^notes\.txt has no lines of text\. Choose a text file/],
  ['blank lines', file(' \n\n'), /has no lines of text/],
  ['a picture', file(new Uint8Array([137, 80, 78, 71, 0, 0, 13])), /^notes\.txt is not text in UTF-8\. Choose/],
  [
    'a folder',
    Object.assign(file('x'), {
      slice: () => ({ text: () => Promise.reject(new DOMException('gone', 'NotFoundError')) }),
    }),
    /^notes\.txt cannot be read\. Choose/,
  ],
])('refuses %s', async (_, own, message) => {
  await expect(linesOf(own)).rejects.toThrow(message);
});
