/** A recurrent layer on packed weights, over all positions at once: the call that layers and graph models share. */
import type { NamedTensorMap } from '@tensorflow/tfjs-core';
import { RECURRENT } from '../kernels/index.ts';
import type { RecurrentAttrs } from '../kernels/recurrent.ts';
import { onDemand } from '../on-demand.ts';
import { type ArithmeticOptions, resolveArithmetic } from '../options.ts';
import type { QuantizedTensor } from '../quantized-tensor.ts';
import type { MatrixSpec } from '../spec.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import { levelled, withoutPowers } from '../weights/powers.ts';
import type { RecurrentCalls } from './calls.ts';
import type { CellActivations, RecurrentId } from './gates.ts';
import type { LoopCalls } from './loop-calls.ts';

export interface RecurrentLayer {
  readonly id: RecurrentId;
  readonly activations: CellActivations;
  readonly kernel: QuantizedTensor;
  readonly recurrentKernel: QuantizedTensor;
  readonly bias?: Tensor | undefined;
  readonly arithmetic?: ArithmeticOptions | undefined;
}

export interface RecurrentCall {
  /** [batch, positions, K] */
  readonly x: Tensor;
  /** h and c of an LSTM, h of the others: [batch, units] */
  readonly states: readonly Tensor[];
  readonly isReversed: boolean;
  readonly sequences: boolean;
  /** [batch, positions], or with a last dimension of 1 */
  readonly mask?: Tensor | undefined;
}

export interface RecurrentResult {
  /** [batch, positions, units]; `undefined` unless sequences are asked for. */
  readonly sequence: Tensor | undefined;
  readonly states: Tensor[];
}

/** What runs a layer as one step. Only pages with recurrent layers download it. */
const kernels = /* @__PURE__ */ onDemand(() => import('./kernels.ts'));

/** Until this has resolved, recurrent layers go from position to position in operations of tfjs. */
export const prepareRecurrent = (): Promise<void> => kernels.prepare();

/** Has a layer asked for it? */
export const recurrentPending = (): Promise<void> | undefined => kernels.pending();

/**
 * The caller's tidy owns what it makes.
 *
 * @returns `undefined` where no kernel does it: on GPUs, while gradients are recorded, with activations that look at a whole row, with a mask
 * of other positions, for nothing at all
 */
export function runRecurrent(layer: RecurrentLayer, call: RecurrentCall): RecurrentResult | undefined {
  const { tf, options: defaults } = requireRegistration('MsdRecurrent');
  const { id, activations, kernel, recurrentKernel, bias } = layer;
  const { x, states, isReversed, sequences, mask } = call;
  const calls = x.rank !== 3 || x.size === 0 ? undefined : callsFor(activations);
  const [batch, positions] = x.shape as [number, number];
  // tfjs-layers hands the last mask that it saw to every layer that follows, also behind a RepeatVector.
  const fits = !mask || (mask.size === batch * positions && mask.shape[0] === batch && mask.shape[1] === positions);
  if (!calls || !fits) return undefined;
  const [h, c] = states.map(asFloats);
  const inputs: NamedTensorMap = {
    x: levelled(turned(asFloats(x), positions), kernel.spec as MatrixSpec),
    w: kernel.packed,
    r: recurrentKernel.packed,
    h: h!,
    ...(bias && { bias }),
    ...(c && { c }),
  };
  const attrs: RecurrentAttrs = {
    id,
    activations,
    input: withoutPowers(kernel.spec) as MatrixSpec,
    own: recurrentKernel.spec as MatrixSpec,
    isReversed,
    sequences,
    mask: mask && maskValues(mask, batch, positions),
    ...resolveArithmetic(layer.arithmetic ?? {}, defaults, 'MsdRecurrent'),
    calls,
  };
  const results = tf.engine().runKernel(RECURRENT, inputs, attrs as never) as unknown as Tensor[];
  const sequence = sequences ? turned(results.pop()!, batch) : undefined;
  return { sequence, states: results };
}

const asFloats = (x: Tensor): Tensor =>
  x.dtype === 'float32' ? x : requireRegistration('MsdRecurrent').tf.cast(x, 'float32');

/** [a, b, …] -> [b, a, …] */
function turned(x: Tensor, second: number): Tensor {
  const { tf } = requireRegistration('MsdRecurrent');
  const [first, , width] = x.shape;
  if (first === 1 && second === 1) return x;
  return first === 1 || second === 1 ? tf.reshape(x, [second, first!, width!]) : tf.transpose(x, [1, 0, 2]);
}

/** As tfjs-layers reads a mask: whatever is not 0 is there. */
function maskValues(mask: Tensor, batch: number, positions: number): ArrayLike<number> {
  const { tf } = requireRegistration('MsdRecurrent');
  return tf.transpose(tf.reshape(tf.cast(mask, 'bool'), [batch, positions])).dataSync();
}

function callsFor(activations: CellActivations): RecurrentCalls | undefined {
  return kernels.get()?.areKnown(activations) ? currentCalls() : undefined;
}

/** Of the current backend, if it has been fetched, and no gradients are recorded. */
export function currentCalls(): RecurrentCalls | undefined {
  const { tf } = requireRegistration('MsdRecurrent');
  return tf.engine().state.gradientDepth > 0 ? undefined : kernels.get()?.recurrentCalls(tf);
}

/** The same for loops of graphs. */
export function currentLoopCalls(): LoopCalls | undefined {
  const { tf } = requireRegistration('MsdRecurrent');
  return tf.engine().state.gradientDepth > 0 ? undefined : kernels.get()?.loopCalls(tf);
}
