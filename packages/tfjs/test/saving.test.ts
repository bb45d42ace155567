/** Models through the handlers that Node has: memory, a server over HTTP, a handler of one's own. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe } from 'vitest';
import { register, unregister } from '../src/index.ts';
import { inMemory, type Place, savingSuite } from './saving.ts';
import { BACKENDS, tf, useBackend } from './tf.ts';

/** Takes what tfjs posts, and serves it by name. */
function modelServer(): Server {
  const files = new Map<string, Uint8Array>();
  // Without a limit for idle connections: one that ends while a client sends on it fails its request.
  return createServer({ keepAliveTimeout: 0 }, async (request, response) => {
    if (request.method === 'POST') {
      const parts: Uint8Array[] = [];
      for await (const part of request) parts.push(part as Uint8Array);
      const form = await new Response(Buffer.concat(parts), {
        headers: { 'Content-Type': request.headers['content-type']! },
      }).formData();
      for (const [name, file] of form) files.set(`/${name}`, new Uint8Array(await (file as Blob).arrayBuffer()));
      response.end();
      return;
    }
    const file = files.get(request.url!);
    response.writeHead(file ? 200 : 404).end(file);
  });
}

describe.each(BACKENDS)('models on %s', (backend) => {
  let server: Server;
  let url = '';
  beforeAll(async () => {
    await useBackend(backend);
    register(tf);
    server = modelServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.close();
    unregister(tf);
  });

  savingSuite({
    memory: inMemory,
    'an own handler': ownHandler,
    'a server': () => ({ save: () => `${url}/upload`, load: () => `${url}/model.json` }),
  });
});

/** Files on a disk: model.json and bytes, as text and a buffer in the middle of another. */
function ownHandler(): Place {
  let [json, bytes] = ['', new Uint8Array()];
  return {
    save: () => ({
      save: async (artifacts) => {
        const data = new Uint8Array(tf.io.CompositeArrayBuffer.join(artifacts.weightData!));
        json = JSON.stringify({ ...artifacts, weightData: undefined });
        bytes = new Uint8Array(data.byteLength + 24).subarray(12, 12 + data.byteLength);
        bytes.set(data);
        artifacts.weightData = new ArrayBuffer(0); // handlers may do what they like with what they get
        return { modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON({ ...artifacts, weightData: data.buffer }) };
      },
    }),
    load: () => ({ load: async () => ({ ...JSON.parse(json), weightData: bytes.slice().buffer }) }),
  };
}
