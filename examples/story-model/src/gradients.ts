/**
 * Loss and gradients of the model on TensorFlow.js (WebAssembly backend).
 *
 * The backend multiplies fast only for 2-D, non-transposed operands, so tokens stay flattened as rows R = batch · time
 * and every operation here has a hand-written gradient made of plain 2-D products of materialised transposes.
 * Attention loops over (sequence, KV head): the query heads that share a KV head become rows of one product.
 */
import * as tf from '@tensorflow/tfjs-core';
import { EMBEDDING_NAME, type ModelConfig, rotaryTables, type Weights } from './model.ts';

/** Token ids and the ids that follow them, both [size · time], row-major. */
export interface Batch {
  readonly size: number;
  readonly inputs: Int32Array;
  readonly targets: Int32Array;
}

type Matrix = tf.Tensor2D;

const product = (a: Matrix, b: Matrix): Matrix => tf.matMul(a, b);
const transposed = (a: Matrix): Matrix => tf.transpose(a);
/** Cast afterwards: the backend's oneHot writes integer bits even when asked for float32. */
const oneHot = (ids: tf.Tensor1D, size: number): Matrix => tf.cast(tf.oneHot(ids, size), 'float32') as Matrix;

/** An operation with its own gradient: `run` returns the value and dValue → gradients of the inputs. */
function operation<Inputs extends tf.Tensor[], Value extends tf.Tensor>(
  inputs: Inputs,
  run: (...inputs: Inputs) => {
    value: Value;
    kept: tf.Tensor[];
    gradient: (dy: Value, kept: tf.Tensor[]) => tf.Tensor[];
  },
): Value {
  const custom = tf.customGrad((...args: Array<tf.Tensor | tf.GradSaveFunc>) => {
    const save = args.pop() as tf.GradSaveFunc;
    const { value, kept, gradient } = run(...(args as Inputs));
    save(kept);
    return { value, gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => gradient(dy as Value, saved) };
  });
  return custom(...inputs) as Value;
}

/** y [R, out] = x [R, in] · wᵀ, w [out, in]. */
function linear(x: Matrix, w: Matrix): Matrix {
  return operation([x, w], (x, w) => ({
    value: product(x, transposed(w)),
    kept: [x, w],
    gradient: (dy, [x, w]) => [product(dy, w as Matrix), product(transposed(dy), x as Matrix)],
  }));
}

/** Rows of the table [vocab, hidden]; the gradient is one-hotᵀ · dy because the backend has no segment sum. */
function embed(table: Matrix, ids: tf.Tensor1D): Matrix {
  const vocabSize = table.shape[0];
  return operation([table], (table) => ({
    value: tf.gather(table, ids),
    kept: [],
    gradient: (dy) => [product(transposed(oneHot(ids, vocabSize)), dy)],
  }));
}

/** y = x · inv · gain with inv = 1 / √(mean x² + eps) per row. */
function rmsNorm(x: Matrix, gain: tf.Tensor1D, eps: number): Matrix {
  return operation([x, gain], (x, gain) => {
    const inv = tf.rsqrt(tf.add(tf.mean(tf.square(x), 1, true), eps));
    return {
      value: tf.mul(tf.mul(x, inv), gain) as Matrix,
      kept: [x, gain, inv],
      gradient: (dy, [x, gain, inv]) => {
        const unit = tf.mul(x as Matrix, inv as Matrix);
        const dUnit = tf.mul(dy, gain as tf.Tensor1D);
        const along = tf.mean(tf.mul(dUnit, unit), 1, true);
        return [tf.mul(tf.sub(dUnit, tf.mul(unit, along)), inv as Matrix), tf.sum(tf.mul(dy, unit), 0)];
      },
    };
  });
}

/** silu(gate) · up. */
function swiglu(gate: Matrix, up: Matrix): Matrix {
  return operation([gate, up], (gate, up) => ({
    value: tf.mul(tf.mul(gate, tf.sigmoid(gate)), up) as Matrix,
    kept: [gate, up],
    gradient: (dy, [gate, up]) => {
      const open = tf.sigmoid(gate as Matrix);
      const silu = tf.mul(gate as Matrix, open);
      // silu' = open + silu · (1 − open)
      const slope = tf.add(open, tf.mul(silu, tf.sub(1, open)));
      return [tf.mul(tf.mul(dy, up as Matrix), slope), tf.mul(dy, silu)];
    },
  }));
}

/** x + y; the branch and the stream both receive dy. */
function residual(x: Matrix, y: Matrix): Matrix {
  return operation([x, y], (x, y) => ({ value: tf.add(x, y) as Matrix, kept: [], gradient: (dy) => [dy, dy] }));
}

/** Constants of attention for one shape, shared by all layers and steps. */
interface AttentionTables {
  /** [time, headDim] for keys, [time · group, headDim] for queries. */
  readonly keyCos: Matrix;
  readonly keySin: Matrix;
  readonly queryCos: Matrix;
  readonly querySin: Matrix;
  /** x · turn = (−x₂, x₁): the half rotation as a [headDim, headDim] matrix. */
  readonly turn: Matrix;
  readonly turnBack: Matrix;
  /** 0 where key ≤ query, else −1e9; [time · group, time]. */
  readonly mask: Matrix;
}

function attentionTables(config: ModelConfig, time: number): AttentionTables {
  const { headDim } = config;
  const half = headDim / 2;
  const group = config.heads / config.kvHeads;
  const { cos, sin } = rotaryTables(config);
  const table = (values: Float32Array, repeat: number): Matrix =>
    tf.keep(
      tf
        .buffer(
          [time * repeat, headDim],
          'float32',
          Float32Array.from(
            { length: time * repeat * headDim },
            (_, at) => values[Math.floor(at / headDim / repeat) * half + (at % half)] as number,
          ),
        )
        .toTensor() as Matrix,
    );
  const turn = new Float32Array(headDim * headDim);
  const mask = new Float32Array(time * group * time);
  for (let i = 0; i < half; i++) {
    turn[(i + half) * headDim + i] = -1;
    turn[i * headDim + i + half] = 1;
  }
  for (let row = 0; row < time * group; row++)
    mask.fill(-1e9, row * time + Math.floor(row / group) + 1, (row + 1) * time);
  const turnMatrix = tf.keep(tf.tensor2d(turn, [headDim, headDim]));
  return {
    keyCos: table(cos, 1),
    keySin: table(sin, 1),
    queryCos: table(cos, group),
    querySin: table(sin, group),
    turn: turnMatrix,
    turnBack: tf.keep(transposed(turnMatrix)),
    mask: tf.keep(tf.tensor2d(mask, [time * group, time])),
  };
}

/**
 * Causal grouped-query attention with rotary positions.
 *
 * q [R, heads · headDim], k and v [R, kvHeads · headDim] → [R, heads · headDim]. The slice of q that belongs to one KV
 * head is [time, group · headDim], which reshapes without copying to [time · group, headDim].
 */
function attention(
  config: ModelConfig,
  tables: AttentionTables,
  batchSize: number,
  q: Matrix,
  k: Matrix,
  v: Matrix,
): Matrix {
  const time = q.shape[0] / batchSize;
  const { headDim, kvHeads } = config;
  const group = config.heads / kvHeads;
  const scale = 1 / Math.sqrt(headDim);
  const part = (x: Matrix, b: number, head: number, width: number): Matrix =>
    tf.reshape(tf.slice(x, [b * time, head * width * headDim], [time, width * headDim]), [time * width, headDim]);
  const rotate = (x: Matrix, cos: Matrix, sin: Matrix): Matrix =>
    tf.add(tf.mul(x, cos), tf.mul(product(x, tables.turn), sin));
  const rotateBack = (dy: Matrix, cos: Matrix, sin: Matrix): Matrix =>
    tf.add(tf.mul(dy, cos), product(tf.mul(dy, sin), tables.turnBack));
  /** Puts [b][head] parts together again: heads side by side, sequences below each other. */
  const assemble = (parts: Matrix[][], width: number): Matrix =>
    tf.concat(
      parts.map((heads) =>
        tf.concat(
          heads.map((x) => tf.reshape(x, [time, width * headDim]) as Matrix),
          1,
        ),
      ),
      0,
    );

  return operation([q, k, v], (q, k, v) => {
    const outputs: Matrix[][] = [];
    const kept: tf.Tensor[] = [];
    for (let b = 0; b < batchSize; b++) {
      const heads: Matrix[] = [];
      for (let head = 0; head < kvHeads; head++) {
        const query = tf.mul(rotate(part(q, b, head, group), tables.queryCos, tables.querySin), scale) as Matrix;
        const key = rotate(part(k, b, head, 1), tables.keyCos, tables.keySin);
        const value = part(v, b, head, 1);
        const weights = tf.softmax(tf.add(product(query, transposed(key)), tables.mask)) as Matrix;
        heads.push(product(weights, value));
        kept.push(query, key, value, weights);
      }
      outputs.push(heads);
    }
    return {
      value: assemble(outputs, group),
      kept,
      gradient: (dy, kept) => {
        const dq: Matrix[][] = [];
        const dk: Matrix[][] = [];
        const dv: Matrix[][] = [];
        for (let b = 0; b < batchSize; b++) {
          const row: { q: Matrix[]; k: Matrix[]; v: Matrix[] } = { q: [], k: [], v: [] };
          for (let head = 0; head < kvHeads; head++) {
            const at = 4 * (b * kvHeads + head);
            const [query, key, value, weights] = kept.slice(at, at + 4) as [Matrix, Matrix, Matrix, Matrix];
            const dOut = part(dy, b, head, group);
            const dWeights = product(dOut, transposed(value));
            const spread = tf.mul(dWeights, weights) as Matrix;
            const dScores = tf.sub(spread, tf.mul(weights, tf.sum(spread, 1, true))) as Matrix;
            row.q.push(rotateBack(tf.mul(product(dScores, key), scale), tables.queryCos, tables.querySin));
            row.k.push(rotateBack(product(transposed(dScores), query), tables.keyCos, tables.keySin));
            row.v.push(product(transposed(weights), dOut));
          }
          dq.push(row.q);
          dk.push(row.k);
          dv.push(row.v);
        }
        return [assemble(dq, group), assemble(dk, 1), assemble(dv, 1)];
      },
    };
  });
}

/** Mean cross-entropy in nats of logits [R, vocab] against ids [R]. */
function crossEntropy(logits: Matrix, targets: tf.Tensor1D): tf.Scalar {
  const [rows, vocabSize] = logits.shape;
  return operation([logits], (logits) => {
    const wanted = oneHot(targets, vocabSize);
    const probabilities = tf.softmax(logits) as Matrix;
    const chosen = tf.sum(tf.mul(probabilities, wanted), 1);
    return {
      value: tf.neg(tf.mean(tf.log(tf.add(chosen, 1e-20)))) as tf.Scalar,
      kept: [probabilities, wanted],
      gradient: (dy, [probabilities, wanted]) => [
        tf.mul(tf.sub(probabilities as Matrix, wanted as Matrix), tf.div(dy, rows)),
      ],
    };
  });
}

/** Computes loss and gradients; owns the constant tensors of attention. */
export class Differentiator {
  readonly #config: ModelConfig;
  readonly #tables: AttentionTables;

  /**
   * @param config the architecture; call `tf.setBackend('wasm')` before.
   * @param time tokens per sequence of every batch.
   */
  constructor(config: ModelConfig, time: number) {
    this.#config = config;
    this.#tables = attentionTables(config, time);
  }

  dispose(): void {
    for (const tensor of Object.values<tf.Tensor>({ ...this.#tables })) tensor.dispose();
  }

  /** @returns the mean loss in nats and one gradient per weight, in the order and shape of `weights`. */
  run(weights: Weights, batch: Batch): { loss: number; gradients: ReadonlyMap<string, Float32Array> } {
    const names = [...weights.keys()];
    let loss = Number.NaN;
    const gradients = new Map<string, Float32Array>();
    // Nothing is returned from the tidy: it would look for tensors in every element of the arrays, half of a step's time.
    tf.tidy(() => {
      const tensors = [...weights.values()].map(({ data, shape }) => tf.tensor(data, [...shape]));
      const inputs = tf.tensor1d(batch.inputs, 'int32');
      const targets = tf.tensor1d(batch.targets, 'int32');
      const { value, grads } = tf.valueAndGrads((...tensors: tf.Tensor[]) =>
        this.#loss(new Map(names.map((name, i) => [name, tensors[i] as tf.Tensor])), batch.size, inputs, targets),
      )(tensors);
      loss = value.dataSync<'float32'>()[0] as number;
      for (const [i, gradient] of grads.entries()) gradients.set(names[i] as string, gradient.dataSync<'float32'>());
    });
    return { loss, gradients };
  }

  #loss(
    weights: ReadonlyMap<string, tf.Tensor>,
    batchSize: number,
    inputs: tf.Tensor1D,
    targets: tf.Tensor1D,
  ): tf.Scalar {
    const config = this.#config;
    const get = <T extends tf.Tensor>(name: string): T => weights.get(name) as T;
    const table = get<Matrix>(EMBEDDING_NAME);
    let x = embed(table, inputs);
    for (let layer = 0; layer < config.layers; layer++) {
      const prefix = `model.layers.${layer}`;
      const project = (y: Matrix, name: string): Matrix => linear(y, get<Matrix>(`${prefix}.${name}.weight`));
      const a = rmsNorm(x, get(`${prefix}.input_layernorm.weight`), config.normEps);
      const q = project(a, 'self_attn.q_proj');
      const k = project(a, 'self_attn.k_proj');
      const v = project(a, 'self_attn.v_proj');
      const mixed = attention(config, this.#tables, batchSize, q, k, v);
      x = residual(x, project(mixed, 'self_attn.o_proj'));
      const m = rmsNorm(x, get(`${prefix}.post_attention_layernorm.weight`), config.normEps);
      x = residual(x, project(swiglu(project(m, 'mlp.gate_proj'), project(m, 'mlp.up_proj')), 'mlp.down_proj'));
    }
    return crossEntropy(linear(rmsNorm(x, get('model.norm.weight'), config.normEps), table), targets);
  }
}
