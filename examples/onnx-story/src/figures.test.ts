/** Numbers and sentences of the page. */
import { describe, expect, it } from 'vitest';
import { describeReports } from '../../shared/describe-reports.ts';
import { explain } from '../../shared/explain.ts';
import { Comparison } from './comparison.ts';
import { firstDifference } from './difference.ts';
import { rateCurve, tokensPerSecond } from './rates.ts';

describe('rates', () => {
  it('count from the first token', () => {
    expect(tokensPerSecond([100, 110, 120])).toBe(100);
    expect(tokensPerSecond([100])).toBeUndefined();
    expect(tokensPerSecond([])).toBeUndefined();
    expect(tokensPerSecond([5, 5])).toBeUndefined();
  });

  it('are a curve over the tokens before', () => {
    expect(rateCurve([0, 10, 20, 60], 2)).toEqual([
      { token: 2, rate: 100 },
      { token: 3, rate: 100 },
      { token: 4, rate: 40 },
    ]);
    expect(rateCurve([3, 3])).toEqual([]); // a clock that is too coarse
  });
});

it('finds the token where two texts part', () => {
  expect(firstDifference([1, 2, 3], [1, 2, 3])).toBeUndefined();
  expect(firstDifference([1, 2, 3], [1, 5, 3])).toBe(1);
  expect(firstDifference([1, 2], [1, 2, 3])).toBe(2);
  expect(firstDifference([], [])).toBeUndefined();
});

it('compares rounds, and takes medians', () => {
  const comparison = new Comparison();
  const run = (rate: number, ids: number[]) => ({
    type: 'written' as const,
    ids,
    times: ids.map((_, i) => 10 + (i * 1000) / rate),
    memory: 5,
    code: 7,
    report: '',
    summary: '',
    isLeft: false,
  });
  expect(comparison.figures('msd')).toBeUndefined();
  comparison.started('msd', 80);
  for (const rate of [100, 300, 200]) comparison.wrote('msd', run(rate, [1, 2, 3]));
  expect(comparison.tokens).toBeUndefined();
  comparison.wrote('stock', run(50, [1, 2, 4]));
  expect([comparison.rounds, comparison.tokens]).toEqual([1, { written: 3, same: 2 }]);
  expect(comparison.figures('msd')).toEqual({ rate: 200, firstMs: 10, startMs: 80, memory: 5, code: 7 });
});

it('says in one sentence what MSD took', () => {
  const report = (places: string[], whole?: string) =>
    ({
      nodes: places.map((where) => ({ where, region: where === 'gone' ? -1 : 0 })),
      ...(whole && { whole }),
    }) as never;
  expect(describeReports({ model: report(['msd', 'msd', 'gone']) })).toMatch(/runs all 2 nodes/);
  expect(describeReports({ model: report(['msd', 'ort']) })).toMatch(/runs 1 of 2 nodes, onnxruntime-web the other 1/);
  expect(describeReports({ model: report([], 'float weights') })).toMatch(/leaves .*: float weights\. Choose q4/);
  expect(describeReports({})).toMatch(/leaves this model to onnxruntime-web/);
});

it.each([
  ['Could not locate file: "https://…/model_q4.onnx".', /choose other weights/],
  ['Unauthorized access to file', /asks for a login/],
  ['Failed to fetch', /online/],
  ['bad_alloc', /smaller one/],
  ['Unsupported model type: foo', /for this task/],
  ['Failed to load model because protobuf parsing failed.', /failed\. The model’s file is damaged/],
  ['Tokenizer must contain a "model" property', /property\. The file tokenizer\.json is damaged/],
  ['The opening has 401 tokens: shorten it.', /shorten it\.$/],
  ['something else', /^something else$/],
])('explains “%s”', (message, hint) => {
  expect(explain(new Error(message))).toMatch(hint);
  expect(explain(message)).toMatch(hint);
});
