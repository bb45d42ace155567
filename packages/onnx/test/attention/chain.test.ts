/** Attention that is spelt out, found by its structure, beside ONNX Runtime. */

import { describe, expect, it } from 'vitest';
import { loadOperators } from '../../src/execute/families.ts';
import { buildGraph } from '../../src/ir/graph.ts';
import { inferTypes } from '../../src/ir/infer.ts';
import { matchNodes } from '../../src/passes/match.ts';
import { readModel } from '../../src/read/model.ts';
import { bytesSource } from '../../src/read/source.ts';
import { reportOf } from '../../src/register.ts';
import { relativeL2 } from '../close.ts';
import { floats, session } from '../ort.ts';
import { type Built, buildChain, type Chain } from './chain.ts';

await loadOperators();

/** Kinds of steps that a model becomes. */
function opsOf(model: Uint8Array): Set<string> {
  const decisions = matchNodes(inferTypes(buildGraph(readModel(bytesSource(model)))));
  return new Set([...decisions.values()].map((each) => (typeof each === 'string' ? 'none' : each.op)));
}

/** Relative L2 of every output to ONNX Runtime's. */
async function distances({ model, feeds }: Built): Promise<number[]> {
  const plain = await session(model.slice(), 'wasm', { graphOptimizationLevel: 'disabled' });
  const msd = await session(model.slice(), { name: 'msd', claim: 'all' });
  const [expected, got] = [await plain.run(feeds), await msd.run(feeds)];
  const result = plain.outputNames.map((name) => {
    expect(got[name]!.dims).toEqual(expected[name]!.dims);
    return relativeL2(floats(got[name]), floats(expected[name]));
  });
  await plain.release();
  await msd.release();
  return result;
}

const forms: readonly (readonly [string, Chain])[] = [
  ['scores over √d', {}],
  ['scores times 1/√d', { scale: 'mul' }],
  ['queries scaled', { scale: 'q' }],
  ['queries and keys scaled', { scale: 'both' }],
  ['not scaled', { scale: 'none' }],
  ['heads of 15', { heads: 8, size: 15 }],
  ['values of another size', { valueSize: 24 }],
  ['more keys than queries', { keys: 11 }],
  ['one query', { rows: 1, keys: 9 }],
  ['many keys', { rows: 70, heads: 2, batch: 1 }],
  ['four queries for each KV head', { heads: 8, kvHeads: 2 }],
  ['one KV head', { heads: 4, kvHeads: 1, masks: ['bias'] }],
  ['a bias', { masks: ['bias'] }],
  ['a bias of every head, before scores', { masks: ['head bias'] }],
  ['a bias that is subtracted', { masks: ['subtracted'] }],
  ['padding', { masks: ['padding'] }],
  ['padding and a bias of every head', { masks: ['head bias', 'padding'] }],
  ['a filter', { masks: ['filter'] }],
  ['a filter of −10000', { masks: ['filter'], filtered: -10000 }],
  ['a filter of what is not seen', { masks: ['unseen'] }],
  ['a filter and a bias', { masks: ['filter', 'bias'] }],
  ['a filter, all scaled', { masks: ['filter'], last: 0.5 }],
  ['a mask of −Infinity', { masks: ['never'] }],
  ['two masks of −Infinity', { masks: ['never', 'never'] }],
  ['softcap', { softcap: 2 }],
  ['softcap, then a mask', { softcap: 2, masks: ['never'] }],
  ['Dropout', { after: ['dropout'] }],
  ['NaN of empty rows away', { masks: ['never'], after: ['isnan', 'identity'] }],
  ['parts of a Split', { packed: 'split' }],
  ['parts of Slices', { packed: 'slice' }],
  ['parts of a Gather', { packed: 'gather' }],
  ['batch and heads in one', { flat: true }],
  ['batch and heads in one, masks between', { flat: true, masks: ['padding', 'head bias'] }],
  ['batch and heads in one, open', { flat: true, open: true }],
  ['heads not joined', { open: true }],
  ['keys that are needed outside', { shown: ['keys'] }],
];

describe('spelt-out attention', () => {
  it.each(forms)('%s', async (_, chain) => {
    const built = buildChain(chain);
    const ops = opsOf(built.model);
    expect(ops).toContain('attention');
    expect(ops).not.toContain('softmax');
    for (const distance of await distances(built)) expect(distance).toBeLessThan(1e-4);
  });

  /** Their Reshapes of constant sizes are none for nothing, says ONNX Runtime. */
  const isOpen = ([, { flat, kvHeads }]: readonly [string, Chain]): boolean => flat !== true && kvHeads === undefined;
  it.each(forms.filter(isOpen))('of nothing: %s', async (_, chain) => {
    for (const nothing of [{ batch: 0 }, { rows: 0 }])
      for (const distance of await distances(buildChain({ ...chain, ...nothing }))) expect(distance).toBe(0);
  });

  /** What is left as it is: the products and the Softmax are MSD's each for itself. */
  it.each<readonly [string, Chain]>([
    ['scores are needed outside', { shown: ['scores'] }],
    ['weights are needed outside', { shown: ['weights'] }],
    ['the Softmax goes over queries', { axis: 2 }],
    ['a filter of a number that weighs', { masks: ['filter'], filtered: -3 }],
    ['a filter of a number that weighs once it is scaled', { masks: ['filter'], filtered: -2000, last: 0.001 }],
    ['masks of windows, which are part of the batch', { windows: 'apart', batch: 4 }],
    ['masks of windows beside heads', { windows: 'with heads', batch: 4 }],
  ])('%s: no attention', async (_, chain) => {
    const built = buildChain(chain);
    expect(opsOf(built.model)).not.toContain('attention');
    for (const distance of await distances(built)) expect(distance).toBeLessThan(1e-4);
  });

  it.each<readonly [string, Chain]>([
    ['scores', { shown: ['scores'] }],
    ['weights', { shown: ['weights'] }],
  ])('says so if %s are needed outside', async (_, chain) => {
    const s = await session(buildChain(chain).model, { name: 'msd', claim: 'all' });
    const softmax = reportOf(s)?.nodes.find(({ opType }) => opType === 'Softmax');
    expect(softmax).toMatchObject({ where: 'msd', reason: 'scores or weights of this attention are needed outside' });
    await s.release();
  });

  it('gives rows in which a finite filter leaves nothing the mean of all values', async () => {
    const built = buildChain({ masks: ['filter'], filtered: -10000, batch: 1 });
    (built.feeds.mask0!.data as Uint8Array).fill(0, 0, 10);
    for (const distance of await distances(built)) expect(distance).toBeLessThan(1e-4);
  });
});
