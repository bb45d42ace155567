/** Reports of whatever holds a session, and their text. */
import type * as ort from 'onnxruntime-web';
import { Tensor } from 'onnxruntime-web';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { explain, formatReport, reportOf, type SessionReport } from '../src/register.ts';
import { makeMatrix, matmulModel } from './models.ts';
import { session } from './ort.ts';

let msd: ort.InferenceSession;
let plain: ort.InferenceSession;
beforeAll(async () => {
  const model = matmulModel(makeMatrix({ name: 'a', N: 64, K: 64, seed: 4 }), ['rows']);
  msd = await session(model);
  plain = await session(model, 'wasm');
});
afterAll(async () => {
  await msd.release();
  await plain.release();
});

describe('reportOf', () => {
  it('is a session’s own, which the session shows as well', () => {
    const report: SessionReport | undefined = reportOf(msd);
    expect(report!.nodes).toHaveLength(1);
    expect(msd.report).toEqual(report);
    expect(reportOf(plain)).toBeUndefined();
    expect(plain.report).toBeUndefined();
  });

  it('has those of a model and of a pipeline by name, and leaves out what MSD did not create', () => {
    const model = { config: null, sessions: { model: msd, decoder_model_merged: plain } };
    expect(Object.keys(reportOf(model))).toEqual(['model']);
    expect(reportOf({ task: 'x', model, tokenizer: () => {} })).toEqual({ model: reportOf(msd) });
    const speaking = { model, vocoder: { sessions: { model: msd } } };
    expect(Object.keys(reportOf(speaking))).toEqual(['model', 'vocoder/model']);
    expect(reportOf({ sessions: {} })).toEqual({});
  });

  it('is undefined for anything else', () => {
    for (const other of [{}, { model: null }, { model: { sessions: 3 } }, () => {}])
      expect(reportOf(other)).toBeUndefined();
  });
});

describe('reportOf, asked of nothing', () => {
  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['a promise: await it first', Promise.resolve(undefined)],
  ])('says so: %s', (got, from) => {
    expect(() => reportOf(from as object)).toThrow(
      new TypeError(`reportOf: expected a pipeline, model or session, got ${got}.`),
    );
  });
});

describe('formatReport', () => {
  it('is one table for a report, one under each name for several', () => {
    const text = formatReport(reportOf(msd));
    expect(text).toMatch(/^nodes\s+where\s+op/);
    expect(formatReport({ encoder_model: reportOf(msd)!, model: reportOf(msd)! })).toBe(
      `encoder_model\n${text}\n\nmodel\n${text}`,
    );
  });

  it('says so where there is none', () => {
    for (const none of [undefined, {}])
      expect(formatReport(none)).toMatch(/^no report: ONNX Runtime runs this session/);
  });
});

describe('explain', () => {
  it('adds what the last run was expected to take to what it took', async () => {
    const own = await session(matmulModel(makeMatrix({ name: 'a', N: 256, K: 512, seed: 4 }), ['rows']));
    expect(own.report!.lastRunMilliseconds).toBeUndefined();
    const feeds = () => ({ x: new Tensor('float32', new Float32Array(8 * 512).fill(1), [8, 512]) });
    await own.run(feeds());
    const plainReport = own.report!;
    expect(plainReport.lastRunMilliseconds).toBeGreaterThan(0);
    expect(plainReport.expected).toBeUndefined();

    const { expected, lastRunMilliseconds } = (await explain(own))!;
    expect(own.report!.expected).toEqual(expected);
    const { milliseconds, measuredMilliseconds, unknownSteps, steps, why, peaks } = expected!;
    expect(measuredMilliseconds).toBe(lastRunMilliseconds);
    expect(unknownSteps).toBe(0);
    expect(steps).toHaveLength(1);
    expect(steps[0]!.kernels.some((id) => id.startsWith('gemm'))).toBe(true);
    expect(steps[0]!.measuredMicroseconds).toBeUndefined();
    // No less than its multiplications at the peak, and not more than a thousand times as long.
    const peak = own.report!.threads!.count * Math.max(peaks.dotGmacs, peaks.relaxedDotGmacs ?? 0);
    const least = (8 * 256 * 512) / peak / 1e6;
    expect(milliseconds).toBeGreaterThan(least);
    expect(milliseconds).toBeLessThan(1000 * least);
    expect(why).toMatch(/^\d+ % \w+/);
    expect(formatReport(own.report)).toMatch(/^last run: expected .* ms, measured .* ms; \d+ % /m);

    // More rows, more time: it is of the run that came last.
    await own.run({ x: new Tensor('float32', new Float32Array(128 * 512).fill(1), [128, 512]) });
    expect(own.report!.expected!.milliseconds).toBeGreaterThan(5 * milliseconds);
    await own.release();
    expect(own.report!.expected).toBeUndefined();
  });

  it('has measured steps beside expected ones after a profile', async () => {
    const own = await session(matmulModel(makeMatrix({ name: 'a', N: 64, K: 64, seed: 4 }), ['rows']));
    own.startProfiling();
    await own.run({ x: new Tensor('float32', new Float32Array(64), [1, 64]) });
    own.endProfiling();
    const [step] = (await explain(own))!.expected!.steps;
    expect(step!.measuredMicroseconds).toBeGreaterThanOrEqual(0);
    expect(step!.microseconds).toBeGreaterThan(0);
    await own.release();
  });

  it('is the plain report where MSD has no part, and nothing for other sessions', async () => {
    expect(await explain(plain)).toBeUndefined();
    expect(await explain({})).toBeUndefined();
    expect((await explain({ handler: { report: msd.report } }))!.expected).toBeUndefined();
  });
});
