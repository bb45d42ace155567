/** Scores of ONNX's own Attention that the graph asks for: computed once more, as a value of their own, in f32. */

import {
  copyOnWasm as copy,
  type Elementwise,
  elementwiseOnWasm as elementwise,
  matMulOnWasm as matMul,
  softmaxOnWasm as softmax,
} from '@msd/core/nn';
import { stridesOf } from '../../dims.ts';
import { Expression } from '../expression.ts';
import { emitOp, type Heads, headsFirst, type Lowering, type Slot } from '../lowering.ts';
import { type AttentionFacts, copyOf } from './facts.ts';

/** What they are: products with the scale; with what is added to them; probabilities. */
export type AskedMode = 0 | 2 | 3;

type Facts = Pick<
  AttentionFacts,
  'batch' | 'rows' | 'keys' | 'heads' | 'kvHeads' | 'headSize' | 'scale' | 'q' | 'biases'
> & {
  readonly k: Heads;
};

/** Emits [batch, heads, rows, keys]. */
export function emitScores(to: Lowering, facts: Facts, mode: AskedMode, name: string): void {
  const { batch, rows, keys, heads, kvHeads, headSize, q, k, scale = 1 / Math.sqrt(headSize) } = facts;
  const group = heads / kvHeads;
  const qs = q.strides;
  const queries = copyOf(
    to,
    q.slot,
    q.begin,
    [batch, kvHeads, group, rows, headSize],
    [qs.batch, group * qs.head, qs.head, qs.row, 1],
  );
  const ks = k.strides;
  const transposed = copyOf(
    to,
    k.slot,
    k.begin,
    [batch, kvHeads, 1, headSize, keys],
    [ks.batch, ks.head, 0, 1, ks.row],
  );
  const [product] = emitOp(to, matMul, {}, [queries, transposed], []) as [Slot];
  const scores = { ...product, dims: [batch, heads, rows, keys] };
  const biases = mode === 0 ? [] : (facts.biases ?? []);
  const [sum] = emitOp(to, elementwise, scaled(scale, biases.length), [scores, ...biases], mode === 3 ? [] : [name]);
  if (mode !== 3) return;
  const [bounded] = emitOp(to, elementwise, LIMITED, [sum], []);
  const [weights] = emitOp(to, softmax, { kind: 'softmax' }, [bounded], []);
  emitOp(to, elementwise, SEEN, [sum, weights], [name]);
}

/** Rows that see no key are all 0: their softmax is made of finite numbers, then what is not seen is taken out. */
const LIMITED: Elementwise = {
  nodes: [
    { fn: 'ConstantF32', args: [], values: [-3.4028234663852886e38] },
    { fn: 'Max', args: [0, 1] },
  ],
  outputs: [2],
};
const SEEN: Elementwise = {
  nodes: [
    { fn: 'ConstantF32', args: [], values: [Number.NEGATIVE_INFINITY] },
    { fn: 'ConstantF32', args: [], values: [0] },
    { fn: 'Equal', args: [0, 2] },
    { fn: 'Where', args: [4, 3, 1] },
  ],
  outputs: [5],
};

function scaled(scale: number, biases: number): Elementwise {
  const expression = new Expression(1 + biases);
  let value = expression.add('Mul', [0, expression.number(scale)]);
  for (let i = 1; i <= biases; i++) value = expression.add('Add', [value, i]);
  return expression.op;
}

/** Heads of a past and of this run, one after the other: [batch, heads, rows, size]. */
export function emitJoined(to: Lowering, past: Slot, own: Heads, rows: number, name: string): Heads {
  const [batch, heads, before, size] = past.dims as readonly [number, number, number, number];
  const dims = [batch, heads, before + rows, size];
  const strides = stridesOf(dims);
  const parts = [headsFirst(past), own].map((part, operand) => ({
    dims: dims.with(2, operand === 0 ? before : rows),
    from: {
      operand,
      offset: part.begin,
      strides: [part.strides.batch, part.strides.head, part.strides.row, 1],
    },
    to: { operand: 0, offset: operand === 0 ? 0 : before * size, strides },
  }));
  return headsFirst(emitOp(to, copy, { outputs: [dims], parts }, [past, own.slot], [name])[0]!);
}
