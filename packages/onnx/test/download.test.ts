/** Models behind URLs that don't arrive: the error says how far it came, and what to do. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { AbortError, ReadError } from '../src/errors.ts';
import { fetchSource } from '../src/read/fetch.ts';
import type { LoadProgress } from '../src/register.ts';
import { makeMatrix, matmulModel } from './models.ts';
import { session } from './ort.ts';

const bytes = matmulModel(makeMatrix({ N: 512, K: 512 }));
let server: Server;
let base: string;
/** By path, what the server does. */
const answers: Record<string, (response: ServerResponse) => void> = {
  '/whole.onnx': (response) => {
    response.setHeader('Content-Length', bytes.byteLength);
    response.end(bytes);
  },
  '/unsized.onnx': (response) => {
    response.write(bytes.subarray(0, 1000));
    response.end(bytes.subarray(1000));
  },
  '/gone.onnx': (response) => {
    response.statusCode = 404;
    response.end('<html>no</html>');
  },
  '/page.onnx': (response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<!doctype html><html><body>Sign in</body></html>');
  },
  '/broken.onnx': (response) => {
    response.setHeader('Content-Length', bytes.byteLength);
    response.write(bytes.subarray(0, 50_000), () => response.destroy());
  },
  '/stalled.onnx': (response) => {
    response.setHeader('Content-Length', bytes.byteLength);
    response.write(bytes.subarray(0, 50_000));
  },
  '/silent.onnx': () => {},
  '/absurd.onnx': (response) => {
    response.setHeader('Content-Length', 2 ** 52);
    response.write(bytes.subarray(0, 100));
  },
};

beforeAll(async () => {
  // Without a limit for idle connections: one that ends while a client sends on it fails its request.
  server = createServer({ keepAliveTimeout: 0 }, (request, response) => answers[request.url!]!(response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const size = `${Number((bytes.byteLength / 1e3).toFixed(1))} kB`;

describe('a download', () => {
  it.each<[string, RegExp]>([
    ['/gone.onnx', /gone\.onnx: model, expected HTTP 200, got 404 Not Found\. Is the address right/],
    ['/broken.onnx', new RegExp(`broken\\.onnx: model, got [\\d.]+ of ${size}, then the connection broke`)],
    ['/stalled.onnx', new RegExp(`stalled\\.onnx: model, got 50 of ${size}, then nothing for 2 s.*'stallTimeoutMs'`)],
    ['/silent.onnx', /silent\.onnx: model, got 0 bytes, then nothing for 2 s/],
    ['/absurd.onnx', /expected memory for 4503599627370496 bytes, got none/],
    ['/page.onnx', /an HTML page/],
  ])('that fails says how far it came: %s', async (path, message) => {
    const isSilent = /stalled|silent/.test(path);
    const failed = session(`${base}${path}`, { name: 'msd', stallTimeoutMs: isSilent ? 2000 : 0 });
    await expect(failed).rejects.toThrow(message);
    const name = { '/absurd.onnx': 'BackendUnavailableError', '/page.onnx': 'OnnxFormatError' }[path] ?? 'ReadError';
    await expect(failed).rejects.toMatchObject({ name });
  });

  it('from a server that is not there says so', async () => {
    const failed = session('http://127.0.0.1:1/model.onnx');
    await expect(failed).rejects.toBeInstanceOf(ReadError);
    await expect(failed).rejects.toThrow(/got 0 bytes, then the connection broke \(.+\)\. Is the address right/);
  });

  it('tells what arrived, of how much', async () => {
    for (const [path, total] of [
      ['/whole.onnx', bytes.byteLength],
      ['/unsized.onnx', undefined],
    ] as const) {
      const told: LoadProgress[] = [];
      const onProgress = (progress: LoadProgress) => told.push(progress);
      await (await session(`${base}${path}`, { name: 'msd', onProgress })).release();
      const downloads = told.filter(({ phase }) => phase === 'download');
      expect(downloads[0]).toEqual({ phase: 'download', loadedBytes: 0, totalBytes: total });
      for (const { totalBytes } of downloads) expect(totalBytes).toBe(total);
      if (total !== undefined) expect(downloads.at(-1)!.loadedBytes).toBe(total);
      expect(told.map(({ phase }) => phase).filter((phase, i, all) => phase !== all[i - 1])).toEqual([
        'download',
        'pack',
        'ready',
      ]);
    }
  });

  it.each(['/stalled.onnx', '/silent.onnx', '/whole.onnx'])('is stopped by a signal: %s', async (path) => {
    const stop = new AbortController();
    const stopped = session(`${base}${path}`, 'msd', { signal: stop.signal } as object);
    if (path !== '/whole.onnx') await new Promise((resolve) => setTimeout(resolve, 50));
    stop.abort();
    await expect(stopped).rejects.toBeInstanceOf(AbortError);
  });

  it('leaves nothing behind: no timer, no listener', async () => {
    const stop = new AbortController();
    const removed = vi.spyOn(stop.signal, 'removeEventListener');
    const clear = vi.spyOn(globalThis, 'clearTimeout');
    const source = await fetchSource(`${base}/whole.onnx`, { stallTimeoutMs: 60_000, signal: stop.signal });
    expect(source.byteLength).toBe(bytes.byteLength);
    expect(removed).toHaveBeenCalledTimes(1);
    expect(clear).toHaveBeenCalled();
    vi.restoreAllMocks();
  });
});
