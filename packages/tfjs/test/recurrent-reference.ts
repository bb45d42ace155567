/**
 * Keras's recurrent cells in float64, and how far kernels may be from that: errors of each product are bounded as docs/msd.md has
 * it, and carried through gates and positions.
 */

/** Values, and bounds of their errors. */
interface Value {
  readonly value: Float64Array;
  readonly error: Float64Array;
}

interface Scalar {
  readonly value: number;
  readonly error: number;
}

export interface Cell {
  readonly kind: 'lstm' | 'gru' | 'simpleRNN';
  /** [K, gates · units], [units, gates · units], as Keras has them; what MSD's integers stand for. */
  readonly kernel: Float32Array;
  readonly recurrentKernel: Float32Array;
  readonly bias?: Float32Array | undefined;
  readonly units: number;
  readonly activation?: string;
  readonly recurrentActivation?: string;
}

export interface Sequence {
  /** [positions][K] */
  readonly x: readonly Value[];
  readonly states?: readonly Float32Array[] | undefined;
  readonly isReversed?: boolean;
  readonly mask?: readonly boolean[] | undefined;
}

/** A function and the largest slope that it has. */
const FUNCTIONS: Readonly<Record<string, readonly [(x: number) => number, number]>> = {
  linear: [(x) => x, 1],
  tanh: [Math.tanh, 1],
  sigmoid: [(x) => 1 / (1 + Math.exp(-x)), 0.25],
  hardSigmoid: [(x) => Math.max(0, Math.min(1, 0.2 * x + 0.5)), 0.2],
  relu: [(x) => Math.max(0, x), 1],
  relu6: [(x) => Math.max(0, Math.min(6, x)), 1],
  elu: [(x) => (x < 0 ? Math.expm1(x) : x), 1],
  softplus: [(x) => Math.log1p(Math.exp(x)), 1],
  softsign: [(x) => x / (1 + Math.abs(x)), 1],
  swish: [(x) => x / (1 + Math.exp(-x)), 1.1],
};

const U = 2 ** -24;
/** Roundings of a function of a few units in the last place, and of what follows it. */
const ROUNDING = 16 * U;

const times = (a: Scalar, b: Scalar): Scalar => ({
  value: a.value * b.value,
  error:
    Math.abs(a.value) * b.error + Math.abs(b.value) * a.error + a.error * b.error + U * Math.abs(a.value * b.value),
});
const plus = (a: Scalar, b: Scalar): Scalar => ({
  value: a.value + b.value,
  error: a.error + b.error + U * Math.abs(a.value + b.value),
});
const apply = (name: string, { value, error }: Scalar): Scalar => {
  const [of, slope] = FUNCTIONS[name]!;
  const y = of(value);
  return { value: y, error: slope * error + ROUNDING * Math.max(1, Math.abs(y)) };
};

const BLOCK = 256;

/** x · w, w [K,N]: of two components, a scale per 256 inputs. */
function product({ value, error }: Value, w: Float32Array, N: number): Scalar[] {
  const K = value.length;
  const steps = new Float64Array(Math.ceil(K / BLOCK));
  for (let k = 0; k < K; k++) {
    const b = Math.floor(k / BLOCK);
    steps[b] = Math.max(steps[b]!, Math.abs(value[k]!) + error[k]!);
  }
  return Array.from({ length: N }, (_, n) => {
    let [sum, bound] = [0, 0];
    for (let k = 0; k < K; k++) {
      const weight = Math.abs(w[k * N + n]!);
      sum += value[k]! * w[k * N + n]!;
      const decomposed = (steps[Math.floor(k / BLOCK)]! / 64516) * (1 + 2 ** -6);
      bound += weight * (error[k]! + decomposed + (8 + K / BLOCK) * U * (Math.abs(value[k]!) + error[k]!));
    }
    return { value: sum, error: bound };
  });
}

const exact = (values: ArrayLike<number>): Value => ({
  value: Float64Array.from(values),
  error: new Float64Array(values.length),
});
const scalars = ({ value, error }: Value): Scalar[] => Array.from(value, (v, i) => ({ value: v, error: error[i]! }));
const joined = (all: readonly Scalar[]): Value => ({
  value: Float64Array.from(all, ({ value }) => value),
  error: Float64Array.from(all, ({ error }) => error),
});

/** Rows of [positions, K]. */
export const rowsOf = (x: Float32Array, K: number): Value[] =>
  Array.from({ length: x.length / K }, (_, i) => exact(x.subarray(i * K, (i + 1) * K)));

/** @returns h after each position, in the order in which they are made, and the last states */
export function simulate(cell: Cell, { x, states = [], isReversed = false, mask }: Sequence) {
  const {
    kind,
    units: H,
    kernel,
    recurrentKernel,
    bias,
    activation = 'tanh',
    recurrentActivation = 'hardSigmoid',
  } = cell;
  const gates = kind === 'lstm' ? 4 : kind === 'gru' ? 3 : 1;
  let [h, c] = [0, 1].map((i) => exact(states[i] ?? new Float32Array(H))) as [Value, Value];
  const outputs: Value[] = [];
  for (let i = 0; i < x.length; i++) {
    const t = isReversed ? x.length - 1 - i : i;
    if (mask?.[t] ?? true) {
      let ofX = product(x[t]!, kernel, gates * H);
      if (bias) ofX = ofX.map((z, n) => plus(z, { value: bias[n]!, error: 0 }));
      const [hs, cs] = [scalars(h), scalars(c)];
      const act = (z: Scalar) => apply(activation, z);
      const gate = (z: Scalar) => apply(recurrentActivation, z);
      if (kind === 'gru') {
        const own = product(h, recurrentKernel, gates * H);
        const [z, r] = [0, 1].map((g) => hs.map((_, j) => gate(plus(ofX[g * H + j]!, own[g * H + j]!)))) as [
          Scalar[],
          Scalar[],
        ];
        const left = product(joined(hs.map((one, j) => times(r[j]!, one))), recurrentKernel, gates * H);
        h = joined(
          hs.map((one, j) => {
            const candidate = act(plus(ofX[2 * H + j]!, left[2 * H + j]!));
            const open = { value: 1 - z[j]!.value, error: z[j]!.error + U };
            return plus(times(z[j]!, one), times(open, candidate));
          }),
        );
      } else {
        const own = product(h, recurrentKernel, gates * H);
        const z = ofX.map((one, n) => plus(one, own[n]!));
        if (kind === 'simpleRNN') h = joined(z.map(act));
        else {
          const at = (g: number, j: number) => z[g * H + j]!;
          const next = cs.map((one, j) => plus(times(gate(at(1, j)), one), times(gate(at(0, j)), act(at(2, j)))));
          c = joined(next);
          h = joined(next.map((one, j) => times(gate(at(3, j)), act(one))));
        }
      }
    }
    outputs.push(h);
  }
  return { outputs, h, c };
}
