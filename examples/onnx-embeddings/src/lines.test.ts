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

it.each<[string, BlobPart]>([
  ['UTF-8, cut in the middle of a letter', new Uint8Array([...new TextEncoder().encode('naïve café\nüber'), 0xc3])],
  ['UTF-16', new Uint8Array(Buffer.from('\ufeffnaïve café\nüber', 'utf16le'))],
  ['UTF-16, the large end first', new Uint8Array(Buffer.from('\ufeffnaïve café\nüber', 'utf16le').swap16())],
  ['Windows-1252', new Uint8Array(Buffer.from('naïve café\nüber', 'latin1'))],
])('reads letters as an editor saves them: %s', async (_, bytes) => {
  expect((await linesOf(file(bytes))).lines).toEqual(['naïve café', 'über']);
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
  ['a picture', file(new Uint8Array([137, 80, 78, 71, 0, 0, 13])), /^notes\.txt is not text\. Choose/],
  [
    'a folder',
    Object.assign(file('x'), {
      slice: () => ({ arrayBuffer: () => Promise.reject(new DOMException('gone', 'NotFoundError')) }),
    }),
    /^notes\.txt cannot be read\. Choose/,
  ],
])('refuses %s', async (_, own, message) => {
  await expect(linesOf(own)).rejects.toThrow(message);
});
