/** Files that are no model, or lie where none should: typed errors that name the thing, and nothing waits for ever. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { whatIsIt } from '../src/read/what-is-it.ts';
import { writeModel } from '../src/write/index.ts';
import { around, distance, externalTensor, matrix, op, outcomeOf, SIZE } from './odd.ts';

const all = { name: 'msd', claim: 'all' } as const;
const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const padded = (text: string): Uint8Array => latin1(text.padEnd(600, '\0'));
const page = '<!DOCTYPE html>\n<html><head><title>Not found</title></head></html>';
const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123456\n';

const strangers: readonly (readonly [string, Uint8Array, string])[] = [
  ['nothing', new Uint8Array(0), 'an empty file'],
  ['zeros', new Uint8Array(4096), 'nothing but zeros'],
  ['a page', utf8(page), 'an HTML page, as servers send for a wrong path: "<!DOCTYPE html> <html>'],
  ['a page behind blank lines', utf8(`\n\n  ${page.toLowerCase()}`), 'an HTML page'],
  ['an XML error', utf8('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'), 'XML or HTML: "<?xml'],
  ['an LFS pointer', utf8(pointer), 'a Git-LFS pointer'],
  ['a JSON error', utf8('{"error":"Repository not found"}'), 'JSON: "{"error":"Repository not found"}"'],
  ['a line of text', utf8('Entry not found – « nothing »'), 'text: "Entry not found – « nothing »"'],
  ['GGUF', padded('GGUF\x03\0\0\0'), 'a GGUF model (llama.cpp)'],
  ['a zip', padded('PK\x03\x04\x14\0'), 'a zip archive'],
  ['a pickle', padded('\x80\x02}q\0(X'), 'a Python pickle'],
  ['TensorFlow Lite', padded('\x1c\0\0\0TFL3'), 'a TensorFlow Lite model'],
  ['safetensors', padded('\x40\x02\0\0\0\0\0\0{"__metadata__":{}}'), 'a safetensors file'],
  ['gzip', new Uint8Array(gzipSync('model')), 'a gzip archive'],
  ['NumPy', padded('\x93NUMPY\x01\0'), 'a NumPy array'],
  ['HDF5', padded('\x89HDF\r\n\x1a\n'), 'an HDF5 file'],
];

const addend = new Float32Array(SIZE).fill(2);
const bytesOf = (values: Float32Array): Uint8Array => new Uint8Array(values.buffer);
/** A model whose addend lies in a file. */
const external = (location: string): Uint8Array =>
  writeModel({
    graph: around({
      nodes: [matrix.node('x', 'h'), op('Add', ['h', 'b'], ['y'])],
      initializers: [...matrix.initializers, { encoded: externalTensor('b', [SIZE], { location }) }],
    }),
  });

let folder: string;
let outside: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-odd-'));
  outside = mkdtempSync(join(tmpdir(), 'msd-outside-'));
  writeFileSync(join(outside, 'secret.bin'), bytesOf(addend));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
  rmSync(outside, { recursive: true });
});

describe('files that are no model', () => {
  it.each(strangers)('%s', async (name, bytes, expected) => {
    expect(whatIsIt(bytes)).toContain(expected);
    const path = join(folder, `${name}.onnx`);
    writeFileSync(path, bytes);
    for (const model of [bytes, path]) {
      const own = await outcomeOf(model, 'msd');
      expect(own).toMatchObject({ stage: 'create', name: 'OnnxFormatError' });
      expect(own.message).toContain(`expected an ONNX file, got ${expected}`);
    }
  });

  it('a model that is cut says so, and how much there is', async () => {
    const bytes = writeModel({ graph: around() });
    const { message } = await outcomeOf(bytes.subarray(0, bytes.length - 100), 'msd');
    expect(message).toMatch(/expected \d+ bytes, got \d+\. Is the file complete\?/);
  });

  it('of external data that is too short, what came instead', async () => {
    const own = await outcomeOf(external('w.bin'), all, { externalData: [{ path: 'w.bin', data: utf8(pointer) }] });
    expect(own).toMatchObject({ stage: 'create', name: 'OnnxFormatError' });
    expect(own.message).toMatch(/tensor 'b': 'w\.bin', expected at least 256 bytes, got \d+: it is a Git-LFS pointer/);
  });

  it('of external data that is not given, which file and how to give it', async () => {
    const own = await outcomeOf(external('w.bin'), all);
    expect(own).toMatchObject({ stage: 'create', name: 'OnnxFormatError' });
    expect(own.message).toContain("external data 'w.bin'");
    expect(own.message).toContain("externalData: [{ path: 'w.bin', data }]");
  });
});

describe.skipIf(process.platform === 'win32')('paths (skipped on Windows: its pipes and links are others)', () => {
  const refusedPath = async (path: string, name: string, message: string): Promise<void> => {
    const own = await outcomeOf(path, all);
    expect(own).toMatchObject({ stage: 'create', name });
    expect(own.message).toContain(message);
  };

  it('a pipe, a device, a folder, nothing, a circle of links: as a model', async () => {
    execFileSync('mkfifo', [join(folder, 'pipe.onnx')]);
    symlinkSync('circle.onnx', join(folder, 'circle.onnx'));
    await refusedPath(join(folder, 'pipe.onnx'), 'TypeError', 'expected a file, got a pipe');
    await refusedPath('/dev/zero', 'TypeError', 'expected a file, got a device or a socket');
    await refusedPath(folder, 'TypeError', 'expected a file, got a folder');
    await refusedPath(join(folder, 'absent.onnx'), 'ReadError', 'there is no such file (ENOENT)');
    await refusedPath(
      'absent.onnx',
      'ReadError',
      `(ENOENT). It was looked for at ${join(process.cwd(), 'absent.onnx')}.`,
    );
    await refusedPath(join(folder, 'circle.onnx'), 'ReadError', 'links that lead in a circle (ELOOP)');
    await refusedPath(`${join(folder, 'absent.onnx')}/more`, 'ReadError', 'ENO');
  });

  it('the same as external data', async () => {
    execFileSync('mkfifo', [join(folder, 'pipe.bin')]);
    mkdirSync(join(folder, 'folder.bin'));
    for (const [location, name, message] of [
      ['pipe.bin', 'TypeError', 'got a pipe'],
      ['folder.bin', 'TypeError', 'got a folder'],
      ['absent.bin', 'ReadError', 'there is no such file (ENOENT)'],
    ] as const) {
      const path = join(folder, `${location}.onnx`);
      writeFileSync(path, external(location));
      await refusedPath(path, name, message);
    }
  });

  it('links that lead out of the folder are not followed, and the bytes can be given', async () => {
    const path = join(folder, 'linked.onnx');
    writeFileSync(path, external('linked.bin'));
    symlinkSync(join(outside, 'secret.bin'), join(folder, 'linked.bin'));
    await refusedPath(path, 'OnnxFormatError', 'got a symbolic link to');
    await refusedPath(path, 'OnnxFormatError', 'Put a copy in its place, or pass its bytes');
    const given = await outcomeOf(path, all, { externalData: [{ path: 'linked.bin', data: bytesOf(addend) }] });
    expect(given).toMatchObject({ stage: 'ran', message: '' });
  });

  it.each(['../secret.bin', 'a/../../secret.bin', '/secret.bin'])('nor are paths: %s', async (location) => {
    const path = join(folder, 'upwards.onnx');
    writeFileSync(path, external(location));
    await refusedPath(path, 'OnnxFormatError', 'Export the model with its data beside it, or pass its bytes');
    const given = await outcomeOf(path, all, { externalData: [{ path: location, data: bytesOf(addend) }] });
    expect(given).toMatchObject({ stage: 'ran', message: '' });
  });

  it('a folder that is a link out of the model folder, too', async () => {
    const path = join(folder, 'deep.onnx');
    writeFileSync(path, external('deep/secret.bin'));
    symlinkSync(outside, join(folder, 'deep'));
    await refusedPath(path, 'OnnxFormatError', 'got a symbolic link to');
  });

  it('links inside the folder are followed', async () => {
    writeFileSync(join(folder, 'real.bin'), bytesOf(addend));
    symlinkSync('real.bin', join(folder, 'inside.bin'));
    const path = join(folder, 'inside.onnx');
    writeFileSync(path, external('inside.bin'));
    expect(await outcomeOf(path, all)).toMatchObject({ stage: 'ran' });
  });

  it('a cache of downloads: model and data are links to files that lie together', async () => {
    mkdirSync(join(folder, 'blobs'));
    mkdirSync(join(folder, 'snapshot'));
    writeFileSync(join(folder, 'blobs', 'aaaa'), external('model.onnx_data'));
    writeFileSync(join(folder, 'blobs', 'bbbb'), bytesOf(addend));
    symlinkSync('../blobs/aaaa', join(folder, 'snapshot', 'model.onnx'));
    symlinkSync('../blobs/bbbb', join(folder, 'snapshot', 'model.onnx_data'));
    const own = await outcomeOf(join(folder, 'snapshot', 'model.onnx'), all);
    expect(own).toMatchObject({ stage: 'ran' });
    copyFileSync(join(folder, 'blobs', 'bbbb'), join(folder, 'model.onnx_data'));
    writeFileSync(join(folder, 'model.onnx'), external('model.onnx_data'));
    expect(distance(await outcomeOf(join(folder, 'model.onnx'), all), own)).toBe(0);
  });

  it.each(['../w.bin', '__proto__', 'constructor', 'a\\b', 'C:\\w'])(
    'a location %j whose bytes are given: as there',
    async (location) => {
      const options = { externalData: [{ path: location, data: bytesOf(addend) }] };
      const plain = await outcomeOf(external(location), 'wasm', options);
      const own = await outcomeOf(external(location), all, options);
      expect(plain.message).toBe('');
      expect(own.report?.whole).toBeUndefined();
      expect(distance(plain, own)).toBeLessThan(SIZE * 2 ** -16);
    },
  );
});
