/**
 * A server for pages that load models: they put files there, with how each is to be answered, and read what was asked for. Of another
 * origin than the page, as model hosts are.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestProject } from 'vitest/node';
import type { Answer, Asked } from './model-site.ts';

interface File extends Answer {
  readonly bytes: Uint8Array;
}

const files = new Map<string, File>();
/** By the first part of their path: a site. */
const log = new Map<string, Asked[]>();

async function bodyOf(request: IncomingMessage): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of request) parts.push(part as Uint8Array);
  return Buffer.concat(parts);
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function answer(url: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = url.split('?')[0]!;
  const site = path.split('/')[1]!;
  if (request.method === 'PUT') {
    files.set(path, {
      ...(JSON.parse(String(request.headers['x-answer'] ?? '{}')) as Answer),
      bytes: await bodyOf(request),
    });
    response.writeHead(204).end();
    return;
  }
  if (path.endsWith('/asked')) {
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(log.get(site) ?? []));
    return;
  }
  const file = files.get(path);
  const entry: { -readonly [K in keyof Asked]: Asked[K] } = {
    url,
    authorization: request.headers.authorization ?? '',
    end: 'under way',
  };
  log.set(site, [...(log.get(site) ?? []), entry]);
  response.on('close', () => {
    entry.end = response.writableFinished ? 'sent' : 'cut off';
  });
  const {
    bytes = new Uint8Array(),
    status = 404,
    piece = bytes.length || 1,
    pauseMs = 0,
    breaksAt,
    stallsAt,
  } = file ? { status: 200, ...file } : {};
  response.writeHead(status, { 'Content-Type': 'application/octet-stream', 'Content-Length': bytes.length });
  for (let at = 0; at < bytes.length && !response.closed; at += piece) {
    if (breaksAt !== undefined && at >= breaksAt) {
      response.destroy();
      return;
    }
    if (stallsAt !== undefined && at >= stallsAt) return; // until the client ends it
    response.write(bytes.subarray(at, at + piece));
    if (pauseMs) await wait(pauseMs);
  }
  response.end();
}

/** Started for the tests in browsers, which get its address. */
export default async function setup({ provide }: TestProject): Promise<() => Promise<void>> {
  // Without a limit for idle connections: one that ends while a client sends on it fails its request.
  const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Allow-Headers', '*, Authorization');
    response.setHeader('Access-Control-Allow-Methods', 'GET, PUT');
    if (request.method === 'OPTIONS') response.writeHead(204).end();
    else void answer(request.url ?? '/', request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  provide('modelServer', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
}
