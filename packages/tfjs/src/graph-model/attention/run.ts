/** MsdAttention as graph models run it: on MSD's kernels if the shapes that come allow it, else on the ops that the graph had. */
import { attentionCalls } from '../../attention/calls.ts';
import { type Planned, planAttention } from '../../attention/plan.ts';
import { arranged, type Layout, viewOf } from '../../attention/view.ts';
import { ATTENTION } from '../../kernels/index.ts';
import { requireRegistration } from '../../state.ts';
import type { Tensor, TfNamespace } from '../../tf.ts';
import type { AttrValue } from '../topology.ts';
import { meaningOf } from './meaning.ts';
import { ATTENTION_OP, type AttentionAttrs, readAttention } from './steps.ts';

/** What tfjs hands to a custom op. */
interface GraphNode {
  readonly inputs: Tensor[];
  readonly node: { readonly name: string; readonly op: string; readonly rawAttrs: Readonly<Record<string, AttrValue>> };
}

const known = /* @__PURE__ */ new WeakMap<object, AttentionAttrs>();

export function attentionOp({ inputs, node }: GraphNode): Tensor {
  const { tf } = requireRegistration(ATTENTION_OP);
  const attrs = known.get(node.rawAttrs) ?? readAttention({ name: node.name, op: node.op, attr: node.rawAttrs });
  known.set(node.rawAttrs, attrs);
  return tf.tidy(() => onKernels(tf, inputs, attrs) ?? spelledOut(tf, inputs, attrs));
}

/** On MSD's kernels, if there are any here and the shapes are those of an attention. */
function onKernels(tf: TfNamespace, inputs: Tensor[], attrs: AttentionAttrs): Tensor | undefined {
  const [first, second, third, ...rest] = inputs as [Tensor, Tensor, Tensor, ...Tensor[]];
  const calls = attentionCalls(tf);
  if (!calls || [first, second, third].some(({ dtype }) => dtype !== 'float32')) return undefined;
  const [q, k, v] = [
    channelsLast(tf, first, attrs.q),
    channelsLast(tf, second, attrs.k),
    channelsLast(tf, third, attrs.v),
  ];
  const layouts = { q: q.layout, k: k.layout, v: v.layout };
  const operands = { q: q.x.shape, k: k.x.shape, v: v.x.shape, layouts, out: attrs.out };
  const scores = planAttention(operands)?.scores;
  const meaning = scores && meaningOf(tf, scores, rest, attrs);
  if (!meaning) return undefined;
  const { bias, scale, softcap, lead } = meaning;
  const planned = planAttention({ ...operands, bias: bias?.shape, scoreLead: lead });
  if (!planned || isOneRow(planned.op)) return undefined;
  const op = { ...planned.op, scale, softcap, isCausal: false };
  const kernelAttrs = { op, shape: planned.shape, type: attrs.type, calls };
  return tf
    .engine()
    .runKernel(ATTENTION, { q: q.x, k: k.x, v: v.x, ...(bias && { bias }) }, kernelAttrs as never) as Tensor;
}

/** Keys that one row reads, once: to quantize them takes as long as to multiply with them. */
const isOneRow = ({ rows, heads, kvHeads }: Planned['op']): boolean => rows * heads === kvHeads;

/** Kernels read channels that lie side by side, and all else in any order. */
function channelsLast(tf: TfNamespace, x: Tensor, layout: Layout): { x: Tensor; layout: Layout } {
  const isLast = layout === undefined || viewOf(x.shape, layout)?.strides.at(-1) === 1;
  return isLast ? { x, layout } : { x: arranged(tf, x, layout), layout: undefined };
}

/** As the graph had it. */
function spelledOut(tf: TfNamespace, inputs: Tensor[], { q, k, v, out, before, after }: AttentionAttrs): Tensor {
  const [queries, keys, values, ...rest] = inputs as [Tensor, Tensor, Tensor, ...Tensor[]];
  let flattened: number[] = [];
  const apply = (x: Tensor, step: AttentionAttrs['before'][number]): Tensor => {
    switch (step.kind) {
      case 'scale':
        return tf.mul(x, step.by);
      case 'tanh':
        return tf.tanh(x);
      case 'add':
        return tf.add(x, rest.shift()!);
      case 'fill': {
        const [condition, value] = [rest.shift()!, tf.scalar(step.value)];
        return step.where ? tf.where(condition, value, x) : tf.where(condition, x, value);
      }
      case 'reshape':
        return tf.reshape(x, Array.from(rest.shift()!.dataSync<'int32'>()));
      case 'flatten':
        flattened = x.shape;
        return tf.reshape(x, [-1, x.shape[step.axis]!]);
      case 'unflatten':
        return tf.reshape(x, flattened);
    }
  };
  const product = tf.matMul(arranged(tf, queries, q), arranged(tf, keys, k), false, true);
  const probabilities = after.reduce(apply, tf.softmax(before.reduce(apply, product)));
  const result = tf.matMul(probabilities, arranged(tf, values, v));
  return out ? tf.transpose(result, [...out]) : result;
}
