/** Files over HTTP, by whole and by range, and what of them was sent. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface FileServer {
  /** `http://127.0.0.1:port` */
  readonly base: string;
  /** Bytes of bodies, and requests, so far. */
  readonly sent: { bytes: number; requests: number };
  close(): Promise<void>;
}

export interface ServerOptions {
  /** Does it answer ranges? Default true. */
  readonly hasRanges?: boolean;
  /** Milliseconds before each answer. */
  readonly delayMs?: number;
  /** Sees each request before; true: it has answered. */
  readonly first?: (path: string, response: ServerResponse, request: IncomingMessage) => boolean;
}

/** @param files bytes by path, as in `/onnx/model.onnx` */
export async function serveFiles(
  files: Readonly<Record<string, Uint8Array | string>>,
  { hasRanges = true, delayMs = 0, first }: ServerOptions = {},
): Promise<FileServer> {
  const sent = { bytes: 0, requests: 0 };
  // Without a limit for idle connections: one that ends while a client sends on it fails its request.
  const server: Server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    sent.requests++;
    const path = decodeURIComponent(request.url!.split('?')[0]!);
    if (first?.(path, response, request)) return;
    const file = files[path];
    if (file === undefined) {
      response.writeHead(404).end();
      return;
    }
    const bytes =
      typeof file === 'string' ? Buffer.from(file) : Buffer.from(file.buffer, file.byteOffset, file.byteLength);
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const answer = (): void => {
      if (!range || !hasRanges) {
        sent.bytes += bytes.length;
        response.writeHead(200, { 'content-length': bytes.length }).end(bytes);
        return;
      }
      const [begin, end] = [Number(range[1]), Math.min(bytes.length, Number(range[2]) + 1)];
      const part = bytes.subarray(begin, end);
      sent.bytes += part.length;
      response
        .writeHead(206, { 'content-range': `bytes ${begin}-${end - 1}/${bytes.length}`, 'content-length': part.length })
        .end(part);
    };
    if (delayMs > 0) setTimeout(answer, delayMs);
    else answer();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    base: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sent,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
