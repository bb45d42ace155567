/** Reports of whatever holds a session, and their text. */
import type * as ort from 'onnxruntime-web';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatReport, reportOf, type SessionReport } from '../src/register.ts';
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

describe('formatReport', () => {
  it('is one table for a report, one under each name for several', () => {
    const text = formatReport(reportOf(msd));
    expect(text).toMatch(/^nodes\s+where\s+op/);
    expect(formatReport({ encoder_model: reportOf(msd)!, model: reportOf(msd)! })).toBe(
      `encoder_model\n${text}\n\nmodel\n${text}`,
    );
  });

  it('says so where there is none', () => {
    for (const none of [undefined, {}]) expect(formatReport(none)).toMatch(/^no report: ONNX Runtime created/);
  });
});
