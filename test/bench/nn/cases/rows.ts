/** Whole rows: norms, softmax, reductions. */
import { argMax, norm, reduce, softmax } from '@msd/core/nn';
import { caseOf, type Data, f32, ints, microsoft, node } from './case.ts';

const EPSILON = 1e-6;
const epsilon = { epsilon: { float: EPSILON } };
/** Vocabulary of SmolLM2-360M. */
const VOCABULARY = 49152;

/** @param rms without a mean; z = x + skip, where there is one, goes to the second output */
function plainNorm(n: number, rms: boolean, hasSkip: boolean) {
  return (inputs: readonly Data[], [y, sum]: readonly Data[]): void => {
    const [x, scale, ...others] = inputs as [Data, Data, ...Data[]];
    const bias = rms ? undefined : others[0];
    const skip = hasSkip ? others.at(-1) : undefined;
    const z = sum ?? new Float32Array(n);
    for (let at = 0; at < x.length; at += n) {
      const from = sum ? at : 0;
      for (let k = 0; k < n; k++) z[from + k] = skip ? x[at + k]! + skip[at + k]! : x[at + k]!;
      let mean = 0;
      if (!rms) for (let k = 0; k < n; k++) mean += z[from + k]! / n;
      let squares = 0;
      for (let k = 0; k < n; k++) squares += (z[from + k]! - mean) ** 2;
      const invStdDev = 1 / Math.sqrt(squares / n + EPSILON);
      for (let k = 0; k < n; k++) y![at + k] = (z[from + k]! - mean) * invStdDev * scale[k]! + (bias ? bias[k]! : 0);
    }
  };
}

function plainSoftmax(n: number, isLog: boolean) {
  return ([x]: readonly Data[], [y]: readonly Data[]): void => {
    for (let at = 0; at < x!.length; at += n) {
      let most = -Infinity;
      for (let k = 0; k < n; k++) most = Math.max(most, x![at + k]!);
      let sum = 0;
      for (let k = 0; k < n; k++) sum += y![at + k] = Math.exp(x![at + k]! - most);
      if (isLog) for (let k = 0; k < n; k++) y![at + k] = x![at + k]! - most - Math.log(sum);
      else for (let k = 0; k < n; k++) y![at + k]! /= sum;
    }
  };
}

export const rowEntries = [
  caseOf(norm)('RMSNorm, Qwen2.5-0.5B', (M) => ({
    op: { kind: 'rms', epsilon: EPSILON },
    inputs: [f32([M, 896]), f32([896], 2)],
    constants: [1],
    onnx: { nodes: [node('SimplifiedLayerNormalization', ['x0', 'x1'], ['y0'], { ...epsilon, axis: { int: -1 } })] },
    plain: plainNorm(896, true, false),
    limit: 'read',
  })),
  caseOf(norm)('RMSNorm of a sum, Qwen2.5-0.5B', (M) => ({
    op: { kind: 'rms', epsilon: EPSILON, sum: true },
    inputs: [f32([M, 896]), f32([896], 2), undefined, f32([M, 896], 3)],
    constants: [1],
    onnx: {
      nodes: [microsoft('SkipSimplifiedLayerNormalization', ['x0', 'x3', 'x1'], ['y0', '', '', 'y1'], epsilon)],
    },
    plain: plainNorm(896, true, true),
    limit: 'read',
  })),
  caseOf(norm)('LayerNorm, BERT-base', (M) => ({
    op: { kind: 'layer', epsilon: EPSILON },
    inputs: [f32([M, 768]), f32([768], 2), f32([768], 3)],
    constants: [1, 2],
    onnx: { nodes: [node('LayerNormalization', ['x0', 'x1', 'x2'], ['y0'], { ...epsilon, axis: { int: -1 } })] },
    plain: plainNorm(768, false, false),
    limit: 'read',
  })),
  caseOf(norm)('LayerNorm of a sum, BERT-base', (M) => ({
    op: { kind: 'layer', epsilon: EPSILON },
    inputs: [f32([M, 768]), f32([768], 2), f32([768], 3), f32([M, 768], 4)],
    constants: [1, 2],
    onnx: { nodes: [microsoft('SkipLayerNormalization', ['x0', 'x3', 'x1', 'x2'], ['y0'], epsilon)] },
    plain: plainNorm(768, false, true),
    limit: 'read',
  })),
  caseOf(softmax)('softmax of 14 heads over 128 keys, Qwen2.5-0.5B', (M) => ({
    op: { kind: 'softmax' },
    inputs: [f32([14, M, 128])],
    onnx: { nodes: [node('Softmax', ['x0'], ['y0'], { axis: { int: -1 } })] },
    plain: plainSoftmax(128, false),
  })),
  caseOf(softmax)('softmax of logits, SmolLM2-360M', (M) => ({
    op: { kind: 'softmax' },
    inputs: [f32([M, VOCABULARY])],
    onnx: { nodes: [node('Softmax', ['x0'], ['y0'], { axis: { int: -1 } })] },
    plain: plainSoftmax(VOCABULARY, false),
  })),
  caseOf(softmax)('log-softmax of logits, SmolLM2-360M', (M) => ({
    op: { kind: 'log_softmax' },
    inputs: [f32([M, VOCABULARY])],
    onnx: { nodes: [node('LogSoftmax', ['x0'], ['y0'], { axis: { int: -1 } })] },
    plain: plainSoftmax(VOCABULARY, true),
  })),
  caseOf(reduce)('mean of each row, BERT-base', (M) => ({
    op: { kind: 'mean', axes: [-1] },
    inputs: [f32([M, 768])],
    onnx: { nodes: [node('ReduceMean', ['x0', 'axes'], ['y0'])], also: [ints('axes', -1)] },
    plain: ([x], [y]) => {
      for (let m = 0; m < M; m++) {
        let sum = 0;
        for (let k = 0; k < 768; k++) sum += x![m * 768 + k]!;
        y![m] = sum / 768;
      }
    },
    limit: 'read',
  })),
  caseOf(reduce)('mean of all tokens, MiniLM-L6', (M) => ({
    op: { kind: 'mean', axes: [1], keepDims: false },
    inputs: [f32([1, M, 384])],
    onnx: {
      nodes: [node('ReduceMean', ['x0', 'axes'], ['y0'], { keepdims: { int: 0 } })],
      also: [ints('axes', 1)],
    },
    plain: ([x], [y]) => {
      y!.fill(0);
      for (let m = 0; m < M; m++) for (let k = 0; k < 384; k++) y![k]! += x![m * 384 + k]!;
      for (let k = 0; k < 384; k++) y![k]! /= M;
    },
    limit: 'read',
  })),
  caseOf(argMax)('next token, SmolLM2-360M', (M) => ({
    op: { kind: 'arg_max', axis: -1 },
    inputs: [f32([M, VOCABULARY])],
    onnx: { nodes: [node('ArgMax', ['x0'], ['y0'], { axis: { int: -1 } })] },
    plain: ([x], [y]) => {
      for (let m = 0; m < M; m++) {
        let best = 0;
        const at = m * VOCABULARY;
        for (let k = 1; k < VOCABULARY; k++) if (x![at + k]! > x![at + best]!) best = k;
        y![m] = best;
      }
    },
    limit: 'read',
  })),
];
