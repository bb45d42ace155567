import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CANDIDATES } from '../src/graph-model/recognise.ts';
import { register, unregister } from '../src/index.ts';
import { KINDS } from '../src/layers-model/kinds.ts';
import { LAYERS, modelsDocument, NODES, OTHERS } from './models-document.ts';
import { tf, useBackend } from './tf.ts';

beforeAll(async () => {
  register(tf);
  await useBackend('cpu');
});
afterAll(() => unregister(tf));

describe('What happens to my model', () => {
  it('has a sample of every layer of tfjs, and of every node that MSD looks at', () => {
    expect([...Object.keys(LAYERS), ...OTHERS].toSorted()).toEqual(Object.keys(tf.layers).toSorted());
    expect([...CANDIDATES].filter((op) => !Object.hasOwn(NODES, op))).toEqual([]);
    const classes = Object.values(LAYERS).flatMap((all) => all.map(({ make }) => make().getClassName()));
    expect(KINDS.filter(({ stock }) => !classes.includes(stock))).toEqual([]);
  });

  it('is what docs/tfjs-models.md says', async () => {
    await expect(await modelsDocument()).toMatchFileSnapshot('../../../docs/tfjs-models.md');
  });
});
