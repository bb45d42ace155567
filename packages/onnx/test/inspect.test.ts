/** `@msd/onnx/inspect` beside real sessions: it says what they say, of a URL from a small part of the file. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { forecastAttention, forecastProduct, stepTime } from '@msd/core/theory';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inspectModel, PRICED_MACHINE, type SizeOf, type Work } from '../src/inspect/index.ts';
import { PAGE, RangedSource } from '../src/inspect/ranged.ts';
import { reportOf } from '../src/register.ts';
import { type GraphSpec, type NodeSpec, type ValueSpec, writeModel } from '../src/write/index.ts';
import { type FileServer, serveFiles } from './file-server.ts';
import { gaussian, makeMatrix, matmulModel, random } from './models.ts';
import { session } from './ort.ts';
import { CONFIG, storyModel } from './story.ts';

const LAYERS = 24;
const WIDTH = 512;

/** As a decoder's file is: some nodes, and many layers of the same large tensors with small ones between them. */
function deepModel(): Uint8Array {
  const next = random(5);
  const layers = Array.from({ length: LAYERS }, (_, i) =>
    makeMatrix({ name: `layer.${i}`, N: WIDTH, K: WIDTH, seed: i + 1 }),
  );
  const gains = layers.map((_, i) => ({
    name: `gain.${i}`,
    dtype: 'float32' as const,
    // Layers need not be all alike.
    dims: [i % 3 === 0 ? WIDTH : 1],
    data: gaussian(next, i % 3 === 0 ? WIDTH : 1),
  }));
  return writeModel({
    graph: {
      nodes: layers.flatMap((layer, i) => [
        layer.node(`x${i}`, `m${i}`),
        { opType: 'Mul', name: `mul.${i}`, inputs: [`m${i}`, `gain.${i}`], outputs: [`x${i + 1}`] },
      ]),
      initializers: layers.flatMap(({ initializers }, i) => [...initializers, gains[i]!]),
      inputs: [{ name: 'x0', dtype: 'float32', dims: ['batch', 'rows', WIDTH] }],
      outputs: [{ name: `x${LAYERS}`, dtype: 'float32', dims: ['batch', 'rows', WIDTH] }],
    },
  });
}

const sizes =
  (rows: number, past = 0): SizeOf =>
  (input, _, name) =>
    /batch/.test(name) ? 1 : input.startsWith('past') ? past : /mask/.test(input) ? past + rows : rows;

const deep = deepModel();
const story = storyModel('q4');
let folder: string;
let server: FileServer;
let whole: FileServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'msd-inspect-'));
  writeFileSync(join(folder, 'deep.onnx'), deep);
  const files = { '/deep.onnx': deep, '/story.onnx': story, '/page.onnx': '<!doctype html><html>no</html>' };
  server = await serveFiles(files);
  whole = await serveFiles(files, { hasRanges: false });
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await server.close();
  await whole.close();
});

describe('a model that is looked at', () => {
  it.each([
    ['layers', () => deep],
    ['a decoder', () => story],
  ])('is planned as a session plans it: %s', async (_, model) => {
    const seen = await inspectModel(model());
    const made = await session(model());
    const report = reportOf(made)!;
    expect(seen.nodes.map(({ name, where, reason }) => [name, where, reason])).toEqual(
      report.nodes.map(({ name, where, reason }) => [name, where, reason]),
    );
    expect(seen.foreignRunsPerCall).toBe(report.foreignRunsPerCall);
    expect(seen.bytes.packed).toBeGreaterThanOrEqual(report.weights.packedBytes);
    expect(seen.bytes.packed).toBeLessThan(1.1 * report.weights.packedBytes + 4096);
    await made.release();
    seen.close();
  });

  it('says what a run multiplies', async () => {
    const seen = await inspectModel(deep);
    const [work] = seen.work(sizes(7));
    expect(work!.operators).toEqual([
      { operator: 'MatMulNBits', macs: LAYERS * 7 * WIDTH * WIDTH, msdMacs: LAYERS * 7 * WIDTH * WIDTH },
    ]);
    expect(work!.predictedMicroseconds.msd).toBeGreaterThan(0);
    const kind = { M: 7, N: WIDTH, K: WIDTH, format: 'int4', blockSize: 32 };
    expect(work!.products).toEqual([{ count: LAYERS, ...kind }]);
    expect(work!.attentions).toEqual([]);
    const { msd, rest } = work!.predictedMicroseconds;
    expect(rest).toBeGreaterThan(0);
    expect(rest).toBeLessThan(msd);
  });

  it('has the planner say what the models of the theory say of the machine that it plans for', async () => {
    for (const model of [story, deep]) {
      const seen = await inspectModel(model);
      for (const [tokens, past] of [
        [1, 31],
        [128, 0],
      ] as const) {
        const [{ products, attentions, steps, predictedMicroseconds }] = seen.work(sizes(tokens, past)) as [Work];
        let sum = predictedMicroseconds.rest;
        for (const { count, ...each } of products) sum += count * forecastProduct(PRICED_MACHINE, each).microseconds;
        for (const { count, ...each } of attentions)
          sum += count * forecastAttention(PRICED_MACHINE, { ...each, type: 'int16' }).microseconds;
        for (const { count, ...each } of steps) sum += count * stepTime(PRICED_MACHINE, each);
        expect(sum / predictedMicroseconds.msd).toBeCloseTo(1, 12);
      }
      seen.close();
    }
  });

  it('says what a token of a decoder multiplies, and leaves in caches', async () => {
    const { layers, hiddenSize, heads, kvHeads, headDim, mlpSize, vocabSize } = CONFIG;
    const seen = await inspectModel(story);
    const [work] = seen.work(sizes(1, 31));
    const own = (operator: string) => work!.operators.find((each) => each.operator === operator)!.macs;
    const inLayer = hiddenSize * headDim * (2 * heads + 2 * kvHeads) + 3 * hiddenSize * mlpSize;
    expect(own('MatMulNBits')).toBe(layers * inLayer + hiddenSize * vocabSize);
    // What forecasts are asked about is all of it.
    const products = work!.products.reduce((sum, { count, M, N, K }) => sum + count * M * N * K, 0);
    expect(products).toBe(own('MatMulNBits'));
    expect(work!.attentions).toEqual([
      { count: layers, batch: 1, heads, kvHeads, rows: 1, keys: 32, headSize: headDim },
    ]);
    expect(seen.bytes.kvPerToken).toBe(layers * 2 * kvHeads * headDim * 2);
    expect(seen.inputs.find(({ name }) => name === 'input_ids')).toMatchObject({ type: 'int64', rows: vocabSize });
  });

  describe('with bodies', () => {
    const [N, layer] = [64, makeMatrix({ name: 'layer', N: 64, K: 64 })];
    const float = (name: string, dims: readonly (string | number)[] = ['rows', N]): ValueSpec => ({
      name,
      dtype: 'float32',
      dims,
    });
    const op = (opType: string, inputs: readonly string[], outputs: readonly string[]): NodeSpec => ({
      opType,
      inputs,
      outputs,
    });
    const floats: NodeSpec = op('MatMul', ['h', 'square'], ['next']);
    const body = (node: NodeSpec): GraphSpec => ({
      nodes: [node, op('Identity', ['going'], ['on'])],
      inputs: [{ name: 'i', dtype: 'int64', dims: [] }, { name: 'going', dtype: 'bool', dims: [] }, float('h')],
      outputs: [{ name: 'on', dtype: 'bool' }, float('next')],
    });
    const model = (node: NodeSpec, count?: bigint, more: readonly ValueSpec[] = []): Uint8Array =>
      writeModel({
        graph: {
          nodes: [node],
          initializers: [
            ...layer.initializers,
            { name: 'square', dtype: 'float32', dims: [N, N], data: gaussian(random(3), N * N) },
            ...(count === undefined
              ? []
              : [{ name: 'count', dtype: 'int64' as const, dims: [], data: BigInt64Array.of(count) }]),
          ],
          inputs: [float('x'), ...more],
          outputs: [float('y', undefined)],
        },
      });
    const loop = (node: NodeSpec): NodeSpec => ({
      ...op('Loop', ['count', '', 'x'], ['y']),
      attributes: { body: { graph: body(node) } },
    });
    const open: ValueSpec = { name: 'count', dtype: 'int64', dims: [] };
    const one = 3 * N * N;

    it.each<[string, Uint8Array, number, boolean]>([
      ['a Loop of 5 passes', model(loop(layer.node('h', 'next')), 5n), 5 * one, true],
      ['a Loop that MSD leaves alone', model(loop(floats), 5n), 5 * one, false],
      [
        'a Loop of as many passes as a run says',
        model(loop(layer.node('h', 'next')), undefined, [open]),
        16 * one,
        true,
      ],
      ['a Loop without a limit', model(loop(layer.node('h', 'next')), 2n ** 62n), 16 * one, true],
      ['a Loop of none', model(loop(layer.node('h', 'next')), -1n), 0, true],
      [
        'a Scan',
        model(
          {
            ...op('Scan', ['x', 'steps'], ['last', 'y']),
            attributes: {
              num_scan_inputs: { int: 1 },
              scan_input_axes: { ints: [-2] },
              body: {
                graph: {
                  nodes: [op('Add', ['h', 's'], ['sum']), layer.node('sum', 'next'), op('Neg', ['next'], ['out'])],
                  inputs: [float('h'), float('s', ['rows', N])],
                  outputs: [float('next'), float('out')],
                },
              },
            },
          },
          undefined,
          [float('steps', ['rows', 'seconds', N])],
        ),
        7 * one,
        true,
      ],
      [
        'an If that a run decides: the branch that multiplies more',
        model(
          {
            ...op('If', ['flag'], ['y']),
            attributes: {
              then_branch: {
                graph: {
                  nodes: [layer.node('x', 'then 1'), layer.node('then 1', 'then 2')],
                  inputs: [],
                  outputs: [float('then 2')],
                },
              },
              else_branch: {
                graph: { nodes: [layer.node('x', 'else')], inputs: [], outputs: [float('else')] },
              },
            },
          },
          undefined,
          [{ name: 'flag', dtype: 'bool', dims: [] }],
        ),
        2 * one,
        true,
      ],
    ])('counts what they multiply: %s', async (_, file, macs, isOurs) => {
      const seen = await inspectModel(file);
      const works = seen.work((_input, _axis, name) => (name === 'seconds' ? 7 : 3));
      const most = works.toSorted((a, b) => b.macs - a.macs)[0]!;
      expect([most.macs, most.msdMacs]).toEqual([macs, isOurs ? macs : 0]);
      seen.close();
    });
  });

  it('may run in ONNX Runtime as a whole, and says why', async () => {
    const seen = await inspectModel(storyModel('fp32'));
    const made = await session(storyModel('fp32'));
    expect(seen.whole).toBe(reportOf(made)!.whole);
    expect(seen.bytes.packed).toBe(seen.whole === undefined ? seen.bytes.packed : 0);
    await made.release();
  });
});

describe('a model behind a URL', () => {
  it('is fetched in parts', async () => {
    const before = { ...server.sent };
    const told: number[] = [];
    const seen = await inspectModel(`${server.base}/deep.onnx`, { onBytes: (count) => told.push(count) });
    const here = await inspectModel(join(folder, 'deep.onnx'));
    expect(seen.nodes).toEqual(here.nodes);
    expect(seen.bytes).toEqual(here.bytes);
    expect(seen.work(sizes(5))).toEqual(here.work(sizes(5)));
    expect(here.readBytes).toBe(0);
    expect(seen.isCut).toBe(false);
    const sent = server.sent.bytes - before.bytes;
    expect(seen.readBytes).toBe(sent);
    expect(told.reduce((a, b) => a + b, 0)).toBe(sent);
    // The beginning, and of each layer two large tensors' headers and a small one.
    expect(sent).toBeLessThan(16 * PAGE + LAYERS * 5 * PAGE);
    expect(sent).toBeLessThan(deep.length / 4);
    here.close();
  });

  it('has a stand-in of the same graph', async () => {
    const seen = await inspectModel(`${server.base}/deep.onnx`);
    const { model, externalData } = seen.standIn();
    expect(model.length).toBe(deep.length);
    expect(model).not.toEqual(deep);
    expect(externalData).toEqual([]);
    const made = await session(model);
    expect(reportOf(made)!.nodes.map(({ name, where }) => [name, where])).toEqual(
      seen.nodes.map(({ name, where }) => [name, where]),
    );
    const x = gaussian(random(9), 3 * WIDTH);
    const { Tensor } = await import('onnxruntime-web');
    const results = await made.run({ x0: new Tensor('float32', x, [1, 3, WIDTH]) });
    const y = results[`x${LAYERS}`]!;
    expect((y.data as Float32Array).every(Number.isFinite)).toBe(true);
    await made.release();
  });

  it('takes no more than it is allowed to', async () => {
    const before = server.sent.bytes;
    const maxBytes = 8 * PAGE;
    const seen = await inspectModel(`${server.base}/deep.onnx`, { maxBytes }).catch((error: unknown) => error);
    expect(seen).toMatchObject({
      name: 'ReadError',
      message: expect.stringMatching(/got more than may be fetched\. Raise maxBytes/),
    });
    expect(server.sent.bytes - before).toBeLessThanOrEqual(16 * PAGE + maxBytes);
  });

  it('comes as a whole from a server without ranges, if that is allowed', async () => {
    const seen = await inspectModel(`${whole.base}/deep.onnx`);
    expect(seen.readBytes).toBe(deep.length);
    await expect(inspectModel(`${whole.base}/deep.onnx`, { mayDownload: () => false })).rejects.toThrow(
      `expected a server that sends parts of files (HTTP ranges), got one that sends all ${deep.length} bytes. Allow the whole download`,
    );
  });

  it.each<[string, Record<string, string>, number, RegExp]>([
    [
      'that sends other bytes than were asked for',
      { 'content-range': 'bytes 7-106/5000' },
      206,
      /got "bytes 7-106\/5000"\. Is it a proxy/,
    ],
    ['that does not say which bytes it sends', {}, 206, /got a part without Content-Range\. Is it a proxy/],
    [
      'that does not say how many there are',
      { 'content-range': 'bytes 0-99/*' },
      206,
      /parts of files \(HTTP ranges\), got one that sends a file of a length/,
    ],
    [
      'that sends a page',
      { 'content-type': 'text/html; charset=utf-8' },
      200,
      /expected an ONNX file, got an HTML page\. Is the/,
    ],
    ['that is busy', {}, 429, /got 429 Too Many Requests\. The server wants fewer requests/],
  ])('says what is wrong with a server %s', async (_, headers, status, message) => {
    const odd = await serveFiles(
      {},
      { first: (_path, response) => response.writeHead(status, headers).end(new Uint8Array(100)) !== undefined },
    );
    const seen = inspectModel(`${odd.base}/model.onnx`, { mayDownload: () => false });
    await expect(seen).rejects.toThrow(message);
    await odd.close();
  });

  it.each([
    ['nothing.onnx', /expected HTTP 206, got 404 Not Found\. Is the address right/],
    ['page.onnx', /an HTML page/],
  ])('that is none says so: %s', async (name, message) => {
    await expect(inspectModel(`${server.base}/${name}`)).rejects.toThrow(message);
  });

  it('says when nobody answers', async () => {
    await expect(inspectModel('http://127.0.0.1:1/model.onnx')).rejects.toThrow('expected an answer, got none');
  });

  it.each([
    [401, 'got 401 Unauthorized. Does it want a token, or is it private?'],
    [503, 'got 503 Service Unavailable. The server failed: try again later.'],
  ])('says what to do about status %i', async (status, message) => {
    const first = (_: string, response: ServerResponse): boolean => {
      response.writeHead(status).end();
      return true;
    };
    const refusing = await serveFiles({}, { first });
    await expect(inspectModel(`${refusing.base}/deep.onnx`)).rejects.toThrow(message);
    await refusing.close();
  });

  it('gives up a server that does not go on', async () => {
    const hanging = await serveFiles({ '/deep.onnx': deep }, { delayMs: 400 });
    const coming = RangedSource.open(`${hanging.base}/deep.onnx`, { timeoutMs: 50 }, { left: 8e6 });
    await expect(coming).rejects.toThrow(
      "expected an answer, got none (nothing for 0.05 s). Try again, or give the option 'timeoutMs' (msd inspect: --timeout)",
    );
    // 0: as long as it takes.
    (await RangedSource.open(`${hanging.base}/deep.onnx`, { timeoutMs: 0 }, { left: 8e6 })).close();
    await hanging.close();
  });

  it('gives up a whole file of which no more comes', async () => {
    let answers = 0;
    const first = (_: string, response: ServerResponse): boolean => {
      response.writeHead(200, { 'content-length': deep.length });
      if (answers++ > 0) response.write(deep.subarray(0, 100));
      else response.end(deep);
      return true;
    };
    const stopping = await serveFiles({}, { first });
    // Long enough for the first answer on a busy machine.
    await expect(inspectModel(`${stopping.base}/deep.onnx`, { timeoutMs: 1500 })).rejects.toThrow(
      "got 0 of 4 MB, then nothing for 1.5 s. Try again, or give the option 'timeoutMs' (msd inspect: --timeout) a larger number",
    );
    await stopping.close();
  });

  it('stops when it is told to', async () => {
    const stop = new AbortController();
    const slow = await serveFiles({ '/deep.onnx': deep }, { delayMs: 200 });
    const looking = inspectModel(`${slow.base}/deep.onnx`, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(looking).rejects.toThrow('enough');
    await slow.close();
  });

  it('fetches layers ahead where they repeat', async () => {
    let [open, trips] = [0, 0];
    const first = (_: string, response: ServerResponse): boolean => {
      if (open++ === 0) trips++;
      response.on('close', () => open--);
      return false;
    };
    const slow = await serveFiles({ '/deep.onnx': deep }, { delayMs: 20, first });
    const seen = await inspectModel(`${slow.base}/deep.onnx`);
    // One after the other, each layer's two large tensors would take a round trip.
    expect(trips).toBeGreaterThan(0);
    expect(trips).toBeLessThan(2 * LAYERS);
    expect(seen.nodes.length).toBe(2 * LAYERS);
    await slow.close();
  });
});

describe('external data', () => {
  it('is read where it lies, and only what is small', async () => {
    const matrix = makeMatrix({ N: 16, K: 64 });
    const seen = await inspectModel(matmulModel(matrix), { externalData: [] });
    expect(seen.bytes.weights).toEqual({ uint8: 16 * 32, float32: 16 * 2 * 4 });
  });
});
