/** `msd inspect` as a user runs it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FileServer, serveFiles } from '../../onnx/test/file-server.ts';
import type { Looked } from '../src/inspect/look.ts';
import { storyFolder, temporaryFolder } from './folders.ts';
import { msd, msdJson } from './msd.ts';

interface Result {
  readonly asked: string;
  readonly kind: string;
  readonly machine: { readonly cpu: string };
  readonly readBytes: number;
  readonly models: readonly Looked[];
}

const folder = temporaryFolder();
const env = { MSD_CACHE: join(folder.path, 'cache') };
let story: string;
let server: FileServer;
let whole: FileServer;
beforeAll(async () => {
  story = storyFolder(join(folder.path, 'story'));
  const q4 = readFileSync(join(story, 'onnx/model_q4.onnx'));
  const config = readFileSync(join(story, 'config.json'));
  const files: Record<string, Uint8Array | string> = {
    '/story/config.json': config,
    '/story/onnx/model_q4.onnx': q4,
    '/large.onnx': new Uint8Array(65e6),
    '/api/models/tales/story/revision/main': JSON.stringify({
      siblings: ['config.json', 'onnx/model_q4.onnx'].map((rfilename) => ({ rfilename })),
    }),
    '/tales/story/resolve/main/config.json': config,
    '/tales/story/resolve/main/onnx/model_q4.onnx': q4,
    '/api/models/tales/empty/revision/main': JSON.stringify({ siblings: [{ rfilename: 'model.safetensors' }] }),
  };
  server = await serveFiles(files);
  whole = await serveFiles(files, { hasRanges: false });
});
afterAll(async () => {
  folder.remove();
  await server.close();
  await whole.close();
});

describe('msd inspect', () => {
  it('measures a folder, and says what runs where', async () => {
    const { kind, models, readBytes, machine } = await msdJson<Result>(
      ['inspect', story, '--threads', '1', '--tokens', '16', '--plain'],
      { env },
    );
    expect(kind).toBe('folder');
    expect(machine.cpu).toBeTruthy();
    expect(readBytes).toBe(0);
    const [looked] = models as [Looked];
    expect(looked.name).toBe('onnx/model_q4.onnx');
    expect(looked.times).toBe('measured');
    expect(looked.foreignRunsPerCall).toBe(0);
    expect(looked.nodes.msd).toBe(looked.nodes.total);
    expect(
      looked.operators.some(({ operator, where }) => operator === 'com.microsoft.MatMulNBits' && where === 'msd'),
    ).toBe(true);
    for (const run of [looked.prompt, looked.token!])
      for (const ms of [run.hereMs, run.phoneMs, run.plainMs!, run.expected.ms]) expect(ms).toBeGreaterThan(0);
    for (const { expected } of [looked.prompt, looked.token!]) {
      expect(Object.values(expected.parts).reduce((a, b) => a + b)).toBeCloseTo(expected.ms, 9);
      expect(expected.parts.attention).toBeGreaterThan(0);
      expect(expected.parts.multiply + expected.parts.read).toBeGreaterThan(0);
      expect(expected.why).toMatch(/^\d+ % \w+/);
    }
    // Not of the whole: on a fast machine a short prompt takes less than the cold start of a token.
    const working = ({ parts }: typeof looked.prompt.expected): number =>
      parts.multiply + parts.read + parts.decompose + parts.attention + parts.steps;
    expect(working(looked.prompt.expected)).toBeGreaterThan(working(looked.token!.expected));
    expect(looked.prompt).toMatchObject({ tokens: 16, past: 0, msdShare: 1 });
    expect(looked.token).toMatchObject({ tokens: 1, past: 16 });
    expect(looked.token!.macs).toBeLessThan(looked.prompt.macs);
    expect(looked.bytes.kvPer1000Tokens).toBe(1000 * 2 * 2 * 2 * 32 * 2);
    expect(looked.bytes.wasm).toBeGreaterThan(looked.bytes.packed);
    expect(looked.fits).toEqual({ tokens: 256, in2GB: true, in4GB: true });
    // What was measured of the machine is kept for the next time.
    expect(existsSync(join(env.MSD_CACHE, 'machine.json'))).toBe(true);
  });

  it('prints it for people', async () => {
    const { exitCode, stdout, stderr } = await msd(['inspect', join(story, 'onnx/model.onnx'), '--no-measure'], {
      env,
    });
    expect(exitCode).toBe(0);
    expect(stderr).toContain('Reading model.onnx');
    expect(stdout).toMatch(/^model\.onnx {2}\d\.\d+ MB/);
    expect(stdout).toContain('MSD leaves all of it to onnxruntime-web');
    expect(stdout).toContain('Quantize its weights (msd quantize MODEL -o OUT');
    expect(stdout).toContain('prompt of 128 tokens');
    expect(stdout).toContain('here, derived');
    expect(stdout).toContain('Not measured, because --no-measure was given.');
    expect(stdout).toContain(
      'Derived from kernels that were timed on this machine: 100 % ONNX Runtime and JavaScript (measured prices) in the prompt; 100 % ONNX Runtime and JavaScript (measured prices) in a token after it.',
    );
    expect(stdout).toContain('fits in 2 GB of wasm memory');
  });

  it('reads parts of a file behind a URL, and measures it with made-up weights', async () => {
    const before = server.sent.bytes;
    const url = `${server.base}/story/onnx/model_q4.onnx`;
    const { kind, models, readBytes } = await msdJson<Result>(['inspect', url, '--threads', '1', '--tokens', '8'], {
      env,
    });
    expect(kind).toBe('url');
    expect(models[0]!.times).toBe('measured');
    expect(models[0]!.fits.tokens).toBe(256); // of config.json, beside it
    expect(readBytes).toBeLessThan(models[0]!.bytes.file / 2);
    expect(server.sent.bytes - before).toBeLessThan(readBytes + 10_000);
  });

  it('knows models of the hub', async () => {
    const hub = { ...env, HF_ENDPOINT: server.base };
    const { kind, models } = await msdJson<Result>(['inspect', 'tales/story', '--no-measure'], { env: hub });
    expect(kind).toBe('hub');
    expect(models[0]!.name).toBe('onnx/model_q4.onnx');
    const page = `${server.base}/tales/story/blob/main/onnx/model_q4.onnx`;
    expect((await msdJson<Result>(['inspect', page, '--no-measure'], { env: hub })).models[0]!.nodes.total).toBe(
      models[0]!.nodes.total,
    );
    const none = await msd(['inspect', 'tales/none'], { env: hub });
    expect(none.exitCode).toBe(1);
    expect(none.stderr).toContain(`no public model tales/none on ${server.base}. Is the name right?`);
    const empty = await msd(['inspect', 'tales/empty'], { env: hub });
    expect(empty.stderr).toContain('tales/empty has no .onnx file. Look for the same model under onnx-community');
  });

  it('fetches small files whole where there are no ranges, large ones only when it is told to', async () => {
    const url = `${whole.base}/story/onnx/model_q4.onnx`;
    const { models, readBytes } = await msdJson<Result>(['inspect', url, '--no-measure'], { env });
    expect(readBytes).toBe(models[0]!.bytes.file);
    const large = await msd(['inspect', `${whole.base}/large.onnx`], { env });
    expect(large.exitCode).toBe(1);
    expect(large.stderr).toContain('got one that sends all 65000000 bytes. Allow the whole download');
  });

  it.each([true, false])('shows the hub its token with every request (ranges: %s)', async (hasRanges) => {
    const refused: string[] = [];
    const bytes = readFileSync(join(story, 'onnx/model_q4.onnx'));
    const hub = await serveFiles(
      {
        '/api/models/tales/own/revision/main': JSON.stringify({ siblings: [{ rfilename: 'onnx/model_q4.onnx' }] }),
        '/tales/own/resolve/main/onnx/model_q4.onnx': bytes,
      },
      {
        hasRanges,
        first(path, response, request) {
          if (request.headers.authorization === 'Bearer secret') return false;
          refused.push(path);
          response.writeHead(401).end();
          return true;
        },
      },
    );
    const own = { ...env, HF_ENDPOINT: hub.base, HF_TOKEN: 'secret' };
    const { models } = await msdJson<Result>(['inspect', 'tales/own', '--no-measure'], { env: own });
    expect(models[0]!.bytes.file).toBe(bytes.length);
    expect(refused).toEqual([]);
    await hub.close();
  });

  it('gives up a server that hangs, after as long as it is told', async () => {
    const hanging = await serveFiles({ '/model.onnx': new Uint8Array(100) }, { delayMs: 3000 });
    const url = `${hanging.base}/model.onnx`;
    const { exitCode, stderr } = await msd(['inspect', url, '--timeout', '0.2'], { env });
    expect(exitCode).toBe(1);
    expect(stderr).toContain('nothing for 0.2 s');
    expect(stderr).toContain('--timeout');
    await hanging.close();
  });

  // A minute, which is what it took before, is more than a test has.
  it('is as patient with the small files beside a model', async () => {
    const answered: string[] = [];
    const silent = await serveFiles(
      { '/model.onnx': readFileSync(join(story, 'onnx/model_q4.onnx')) },
      { first: (path) => (path.endsWith('.json') ? answered.push(path) > 0 : false) },
    );
    const url = `${silent.base}/model.onnx`;
    const { models } = await msdJson<Result>(['inspect', url, '--no-measure', '--timeout', '1'], { env });
    expect(models[0]!.nodes.total).toBe(35);
    expect(answered).toContain('/config.json');
    await silent.close();
  });

  it.each<[string, (response: ServerResponse) => unknown, string]>([
    ['says nothing', () => undefined, '(nothing for 0.5 s)'],
    ['stops in between', (response) => response.writeHead(200).write('{"siblings": ['), '(nothing for 0.5 s)'],
    ['sends no list', (response) => response.end('<!doctype html>'), 'does not answer (Unexpected token'],
    [
      'fails',
      (response) => response.writeHead(503).end(),
      'expected HTTP 200, got 503. The server failed: try again later.',
    ],
  ])('and with a hub that %s instead of its list of files', async (_, answer, message) => {
    const hub = await serveFiles(
      {},
      {
        first(_, response) {
          answer(response);
          return true;
        },
      },
    );
    // A hub that answers gets the time to do so, also on a busy machine.
    const seconds = message.includes('0.5 s') ? '0.5' : '30';
    const { exitCode, stderr } = await msd(['inspect', 'tales/story', '--timeout', seconds], {
      env: { ...env, HF_ENDPOINT: hub.base },
    });
    expect(exitCode).toBe(1);
    expect(stderr).toContain(message);
    await hub.close();
  });

  it('has figures for inputs of no size, and for no more tokens than the model reads', async () => {
    const none = await msdJson<Result>(['inspect', story, '--no-measure', '--size', 'batch_size=0'], { env });
    for (const run of [none.models[0]!.prompt, none.models[0]!.token!]) {
      expect(run.macs).toBe(0);
      for (const ms of [run.hereMs, run.phoneMs, run.expected.ms]) expect(ms).toBeGreaterThanOrEqual(0);
    }
    const { models } = await msdJson<Result>(['inspect', story, '--tokens', '99999'], { env });
    expect(models[0]!.prompt.tokens).toBe(240);
    expect(models[0]!.token!.past).toBe(240);
    expect(models[0]!.times).toBe('measured');
  });

  it('shows no figures of a file in ORT format', async () => {
    const path = join(folder.path, 'model.ort');
    writeFileSync(path, Buffer.concat([Buffer.from([28, 0, 0, 0]), Buffer.from('ORTM'), Buffer.alloc(100)]));
    const { exitCode, stdout } = await msd(['inspect', path, '--no-measure'], { env });
    expect(exitCode).toBe(0);
    expect(stdout).toContain('Inspect or quantize the .onnx file that it was made of.');
    expect(stdout).not.toMatch(/NaN|0\.00 ms/);
  });

  it.each<[string, string[], number, string]>([
    ['an unknown option', ['--frob'], 2, "Unknown option '--frob'. See: msd inspect --help"],
    ['no time at all', ['--timeout', 'soon'], 2, 'Expected seconds, 0 to 2000000.'],
    ['a wrong number', ['--tokens', '0'], 2, 'Expected a whole number of at least 1.'],
    ['a size of nothing', ['--size', 'hight=5', '--no-measure'], 2, '--size: expected one of batch_size, '],
    ['too many threads', ['--threads', '999'], 2, 'Expected auto, or 1 to 64.'],
    ['a size without a name', ['--size', '5'], 2, 'Expected NAME=NUMBER, as in height=640.'],
    [
      'a dtype that is not there',
      ['--dtype', 'q8'],
      2,
      'has no q8 file. There are onnx/model.onnx, onnx/model_q4.onnx.',
    ],
    ['a dtype that is none', ['--dtype', 'q5'], 2, '--dtype: expected one of fp32, fp16'],
    ['a module that is not there', ['--module', 'encoder_model'], 2, '--module: expected one of model in'],
  ])('says in one sentence what is wrong: %s', async (_, args, code, message) => {
    const { exitCode, stdout, stderr } = await msd(['inspect', story, ...args], { env });
    expect(exitCode).toBe(code);
    expect(stdout).toBe('');
    expect(stderr).toContain(message);
    const said = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('Reading '));
    expect(said).toHaveLength(1);
  });

  it('says what a file is that is no model', async () => {
    const path = join(folder.path, 'page.onnx');
    writeFileSync(path, '<!doctype html><html><body>Sign in</body></html>');
    const { exitCode, stderr } = await msd(['inspect', path], { env });
    expect(exitCode).toBe(1);
    expect(stderr).toContain('expected an ONNX file, got an HTML page');
    expect(stderr).not.toContain('    at ');
  });

  it('ends at once on Ctrl-C', async () => {
    const { exitCode, stdout, stderr } = await msd(['inspect', story], {
      env,
      interruptWhen: (said) => said.includes('Trying'),
    });
    expect(exitCode).toBe(130);
    expect(stdout).toBe('');
    expect(stderr).toContain('Stopped. Nothing was left behind.');
  });
});
