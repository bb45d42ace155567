/** Operators with random operands: odd sizes, none, one element, no dimension, repeated ones; with NaN, infinities and zeros of either sign. */
import type { AttributeSpec, NodeSpec, TensorSpec } from '../src/write/index.ts';

type Next = () => number;
export type Elements = 'float32' | 'bool' | 'int64';

export interface Operand {
  readonly name: string;
  readonly dtype: Elements;
  readonly dims: readonly number[];
  readonly data: Float32Array | Uint8Array | BigInt64Array;
  /** In the file, or fed. */
  readonly isConstant: boolean;
}

export interface RandomCase {
  readonly node: NodeSpec;
  readonly operands: readonly Operand[];
  readonly outputs: readonly Elements[];
  readonly opset: number;
  /**
   * How far an element may be from ONNX Runtime's, as multiples of 2⁻²⁴: of itself, and of the largest operand. Nothing: it is moved, or
   * there is one right answer.
   */
  readonly tolerance: readonly [own: number, largest: number];
}

/** @returns a case that `next` decides */
export type Maker = (next: Next) => RandomCase;

const SIZES = [0, 1, 1, 2, 3, 5, 7, 17] as const;
const whole = (next: Next, from: number, to: number): number => from + Math.floor(next() * (to - from + 1));
const one = <T>(next: Next, values: readonly T[]): T => values[Math.floor(next() * values.length)]!;
const countOf = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
const shape = (next: Next, least = 0, most = 4): number[] =>
  Array.from({ length: whole(next, least, most) }, () => one(next, SIZES));
/** Without an empty dimension. */
const filled = (next: Next, least = 0, most = 4): number[] => shape(next, least, most).map((dim) => Math.max(1, dim));

/** A shape that is repeated to another one. */
function repeated(next: Next, dims: readonly number[]): number[] {
  const left = dims.slice(whole(next, 0, dims.length));
  return left.map((dim) => (next() < 0.3 ? 1 : dim));
}

const SPECIAL = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0] as const;
const NUMBERS = SPECIAL.slice(1);
/** Of x · something that becomes 0 at −Infinity, MSD gives the limit, and some kernels of ONNX Runtime NaN. */
const BOUNDED = [Number.NaN, Number.POSITIVE_INFINITY, 0, -0] as const;

function normal(next: Next): number {
  let sum = 0;
  for (let i = 0; i < 12; i++) sum += next();
  return sum - 6;
}

interface Drawing {
  /** A value that is none of the special ones. */
  readonly value?: (next: Next) => number;
  readonly special?: readonly number[];
}

export function floats(next: Next, count: number, { value = normal, special = SPECIAL }: Drawing = {}): Float32Array {
  const isOdd = special.length > 0 && next() < 0.3;
  return Float32Array.from({ length: count }, () => (isOdd && next() < 0.1 ? one(next, special) : value(next)));
}

function operand(next: Next, name: string, dims: readonly number[], drawing?: Drawing): Operand {
  return { name, dtype: 'float32', dims, data: floats(next, countOf(dims), drawing), isConstant: next() < 0.3 };
}

const fed = (next: Next, name: string, dims: readonly number[], drawing?: Drawing): Operand => ({
  ...operand(next, name, dims, drawing),
  isConstant: false,
});

const longs = (name: string, ...numbers: number[]): Operand => ({
  name,
  dtype: 'int64',
  dims: [numbers.length],
  data: BigInt64Array.from(numbers, BigInt),
  isConstant: true,
});

const bools = (next: Next, name: string, dims: readonly number[]): Operand => ({
  name,
  dtype: 'bool',
  dims,
  data: Uint8Array.from({ length: countOf(dims) }, () => whole(next, 0, 1)),
  isConstant: false,
});

interface Form {
  readonly attributes?: Readonly<Record<string, AttributeSpec>>;
  readonly outputs?: readonly Elements[];
  readonly opset?: number;
  readonly tolerance?: RandomCase['tolerance'];
}

/** @param name of the operator, with its domain */
function made(name: string, operands: readonly (Operand | undefined)[], form: Form = {}): RandomCase {
  const dot = name.lastIndexOf('.');
  const { attributes = {}, outputs = ['float32'], opset = 21, tolerance = [0, 0] } = form;
  const node: NodeSpec = {
    opType: name.slice(dot + 1),
    ...(dot > 0 && { domain: name.slice(0, dot) }),
    name: 'node',
    inputs: operands.map((each) => each?.name ?? ''),
    outputs: outputs.map((_, i) => `y${i}`),
    attributes,
  };
  return { node, operands: operands.filter((each) => each !== undefined), outputs, opset, tolerance };
}

const MS = 'com.microsoft.';

/** Functions of one operand: how far both sides' own approximations may be apart. */
const UNARY: Readonly<Record<string, RandomCase['tolerance']>> = {
  ...Object.fromEntries(['Abs', 'Neg', 'Floor', 'Ceil', 'Round', 'Sign', 'Relu'].map((op) => [op, [0, 0]])),
  ...{ Sqrt: [1, 0], Reciprocal: [1, 0], LeakyRelu: [1, 0], Softsign: [4, 0], Exp: [8, 0], Log: [8, 0] },
  ...{ Erf: [8, 2], Tanh: [8, 2], Sigmoid: [16, 2], Sin: [8, 2], Cos: [8, 2], Softplus: [8, 0], Elu: [8, 4] },
  ...{ HardSigmoid: [4, 2], HardSwish: [4, 4], Gelu: [16, 16], [`${MS}Gelu`]: [16, 16], [`${MS}QuickGelu`]: [32, 16] },
};

const BINARY = ['Add', 'Sub', 'Mul', 'Div', 'Min', 'Max', 'Sum', 'Pow'];
const COMPARED = ['Equal', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual'];

/** Two shapes that go together: either may be the one that is repeated. */
function pair(next: Next, drawing?: Drawing): Operand[] {
  const dims = shape(next);
  const shapes = [dims, repeated(next, dims)];
  const [a, b] = next() < 0.5 ? shapes : shapes.reverse();
  return [fed(next, 'a', a!, drawing), operand(next, 'b', b!, drawing)];
}

function elementwise(): [string, Maker][] {
  const unary = Object.entries(UNARY).map(([name, tolerance]): [string, Maker] => [
    name,
    (next) => made(name, [fed(next, 'x', shape(next), /Gelu/.test(name) ? { special: BOUNDED } : {})], { tolerance }),
  ]);
  const binary = BINARY.map((name): [string, Maker] => [
    name,
    (next) => made(name, pair(next), { tolerance: name === 'Pow' ? [16, 0] : [1, 0] }),
  ]);
  const compared = COMPARED.map((name): [string, Maker] => [
    name,
    (next) => made(name, pair(next), { outputs: ['bool'] }),
  ]);
  const logic = ['And', 'Or', 'Xor'].map((name): [string, Maker] => [
    name,
    (next) => {
      const dims = shape(next);
      return made(name, [bools(next, 'a', dims), bools(next, 'b', repeated(next, dims))], { outputs: ['bool'] });
    },
  ]);
  const biased = [`${MS}BiasGelu`, `${MS}FastGelu`].map((name): [string, Maker] => [
    name,
    (next) => {
      const dims = filled(next, 1);
      const operands = [
        fed(next, 'x', dims, { special: BOUNDED }),
        operand(next, 'bias', dims.slice(-1), { special: [] }),
      ];
      return made(name, operands, { tolerance: [32, 32] });
    },
  ]);
  return [
    ...[...unary, ...binary, ...compared, ...logic, ...biased],
    ['Not', (next) => made('Not', [bools(next, 'x', shape(next))], { outputs: ['bool'] })],
    ['IsNaN', (next) => made('IsNaN', [fed(next, 'x', shape(next))], { outputs: ['bool'] })],
    [
      'Where',
      (next) => {
        const dims = shape(next);
        return made('Where', [bools(next, 'which', repeated(next, dims)), ...pairOf(next, dims)]);
      },
    ],
    [
      'Clip',
      (next) => {
        const limit = (name: string): Operand | undefined =>
          next() < 0.3 ? undefined : operand(next, name, [], { special: [] });
        return made('Clip', [fed(next, 'x', shape(next)), limit('low'), limit('high')]);
      },
    ],
    ['Cast', (next) => made('Cast', [fed(next, 'x', shape(next))], castTo(next))],
    ['CastLike', (next) => made('CastLike', [fed(next, 'x', shape(next)), operand(next, 'like', [1])])],
  ];
}

const pairOf = (next: Next, dims: readonly number[]): Operand[] => [
  fed(next, 'a', dims),
  operand(next, 'b', repeated(next, dims)),
];

const castTo = (next: Next): Form =>
  next() < 0.5 ? { attributes: { to: { int: 1 } } } : { attributes: { to: { int: 9 } }, outputs: ['bool'] };

/** Rows of norms: a size other than zero. */
function norms(): [string, Maker][] {
  const form: Form = { tolerance: [64, 0] };
  const row = (dims: readonly number[]) => dims.slice(-1);
  const plain = (name: string, hasBias: boolean, opset = 21): [string, Maker] => [
    name,
    (next) => {
      const dims = filled(next, 1);
      const axis = hasBias && next() < 0.3 ? -Math.min(2, dims.length) : -1;
      const shapeOf = () => (next() < 0.25 ? repeated(next, dims) : dims.slice(axis));
      const scale = operand(next, 'scale', shapeOf());
      const bias = hasBias && next() < 0.5 ? operand(next, 'bias', shapeOf()) : undefined;
      const epsilon = { float: one(next, [1e-5, 1e-3]) };
      return made(name, [fed(next, 'x', dims), scale, ...(bias ? [bias] : [])], {
        ...{ ...form, opset, attributes: { axis: { int: axis }, epsilon } },
        tolerance: [64, 64],
      });
    },
  ];
  const skipped = (name: string, hasBias: boolean): [string, Maker] => [
    `${MS}${name}`,
    (next) => {
      const dims = filled(next, 3, 3);
      const optional = (operandName: string): Operand | undefined =>
        next() < 0.5 ? operand(next, operandName, row(dims)) : undefined;
      const given = [
        ...[fed(next, 'x', dims), fed(next, 'skip', next() < 0.3 ? dims.slice(1) : dims)],
        ...[operand(next, 'scale', row(dims)), ...(hasBias ? [optional('shift')] : []), optional('bias')],
      ];
      return made(`${MS}${name}`, given, { attributes: { epsilon: { float: 1e-5 } }, tolerance: [64, 64] });
    },
  ];
  return [
    ...[plain('LayerNormalization', true), plain('RMSNormalization', false, 23)],
    ...[plain('SimplifiedLayerNormalization', false)],
    ...[skipped('SkipLayerNormalization', true), skipped('SkipSimplifiedLayerNormalization', false)],
  ];
}

const FOLDED = ['Sum', 'Prod', 'Max', 'Min', 'Mean', 'L1', 'L2', 'SumSquare'];

function folds(): [string, Maker][] {
  const reductions = FOLDED.map((kind): [string, Maker] => [
    `Reduce${kind}`,
    (next) => {
      // The mean of nothing is NaN here, 0 in ONNX Runtime, and undefined in ONNX.
      const dims = kind === 'Mean' ? filled(next) : shape(next);
      const first = whole(next, 0, Math.max(0, dims.length - 1));
      const axes = Array.from({ length: whole(next, 0, dims.length - first) }, (_, i) => first + i);
      const attributes = { keepdims: { int: whole(next, 0, 1) } };
      const named = axes.length > 0 ? [longs('axes', ...axes)] : [];
      // Which of several the largest is beside NaN, ONNX Runtime leaves to the order in which it looks; here it is NaN.
      const drawings: Readonly<Record<string, Drawing>> = {
        Prod: { value: () => 0.5 + next() },
        ...{ Max: { special: NUMBERS }, Min: { special: NUMBERS } },
      };
      // 17⁴ terms at most; a product of n factors has n roundings.
      const tolerance: Form['tolerance'] = ['Max', 'Min'].includes(kind)
        ? [0, 0]
        : [2 * countOf(dims) + 8, countOf(dims)];
      return made(`Reduce${kind}`, [fed(next, 'x', dims, drawings[kind]), ...named], { attributes, tolerance });
    },
  ]);
  const chosen = ['ArgMax', 'ArgMin'].map((name): [string, Maker] => [
    name,
    (next) => {
      const dims = filled(next, 1);
      const attributes = {
        axis: { int: whole(next, -dims.length, dims.length - 1) },
        keepdims: { int: whole(next, 0, 1) },
        select_last_index: { int: whole(next, 0, 1) },
      };
      const drawing = { value: () => whole(next, -3, 3), special: [0, -0, Number.NEGATIVE_INFINITY] };
      return made(name, [fed(next, 'x', dims, drawing)], { attributes, outputs: ['int64'] });
    },
  ]);
  const weighed = ['Softmax', 'LogSoftmax'].map((name): [string, Maker] => [
    name,
    (next) => {
      const dims = shape(next, 1);
      const drawing = { special: [Number.NaN, Number.NEGATIVE_INFINITY, 0] };
      return made(name, [fed(next, 'x', dims, drawing)], { attributes: { axis: { int: -1 } }, tolerance: [32, 16] });
    },
  ]);
  return [...reductions, ...chosen, ...weighed];
}

function movements(): [string, Maker][] {
  return [
    [
      'GatherND',
      (next) => {
        const dims = filled(next, 1);
        const batch = whole(next, 0, Math.min(2, dims.length - 1));
        const k = whole(next, 1, dims.length - batch);
        const shapeOfIndices = [...dims.slice(0, batch), ...shape(next, 0, 2), k];
        const data = BigInt64Array.from({ length: countOf(shapeOfIndices) }, (_, i) => {
          const size = dims[batch + (i % k)]!;
          return BigInt(whole(next, -size, size - 1));
        });
        const indices: Operand = { name: 'at', dtype: 'int64', dims: shapeOfIndices, data, isConstant: next() < 0.5 };
        return made('GatherND', [fed(next, 'x', dims), indices], { attributes: { batch_dims: { int: batch } } });
      },
    ],
    [
      'Transpose',
      (next) => {
        const dims = shape(next, 1);
        const order = dims.map((_, i) => i).sort(() => next() - 0.5);
        const attributes: Form['attributes'] = next() < 0.3 ? {} : { perm: { ints: order } };
        return made('Transpose', [fed(next, 'x', dims)], { attributes });
      },
    ],
    [
      'Slice',
      (next) => {
        const dims = shape(next, 1);
        const axes = dims.map((_, i) => i).filter(() => next() < 0.6);
        if (axes.length === 0) axes.push(0);
        const some = (of: (dim: number) => number): number[] => axes.map((axis) => of(dims[axis]!));
        return made('Slice', [
          fed(next, 'x', dims),
          longs('from', ...some((dim) => whole(next, -dim - 2, dim + 2))),
          longs('to', ...some((dim) => whole(next, -dim - 2, dim + 2))),
          longs('axes', ...axes),
          longs('steps', ...axes.map(() => one(next, [1, 1, 2, 3, -1, -2]))),
        ]);
      },
    ],
    [
      'Concat',
      (next) => {
        const dims = shape(next, 1);
        const axis = whole(next, -dims.length, dims.length - 1);
        const parts = Array.from({ length: whole(next, 1, 4) }, (_, i) => {
          const own = dims.with(axis < 0 ? axis + dims.length : axis, one(next, SIZES));
          return i === 0 ? fed(next, 'x', own) : operand(next, `x${i}`, own);
        });
        return made('Concat', parts, { attributes: { axis: { int: axis } } });
      },
    ],
    [
      'Split',
      (next) => {
        const parts = Array.from({ length: whole(next, 1, 4) }, (): number => one(next, SIZES));
        const dims = shape(next, 1);
        const axis = whole(next, 0, dims.length - 1);
        const x = fed(
          next,
          'x',
          dims.with(
            axis,
            parts.reduce((a, b) => a + b, 0),
          ),
        );
        const outputs = parts.map(() => 'float32' as const);
        return made('Split', [x, longs('sizes', ...parts)], { attributes: { axis: { int: axis } }, outputs });
      },
    ],
    [
      'Expand',
      (next) => {
        const dims = shape(next);
        const from = repeated(next, dims);
        return made('Expand', [fed(next, 'x', from), longs('sizes', ...dims)]);
      },
    ],
    [
      'Tile',
      (next) => {
        const dims = filled(next, 1);
        return made('Tile', [fed(next, 'x', dims), longs('times', ...dims.map(() => whole(next, 0, 3)))]);
      },
    ],
    [
      'Pad',
      (next) => {
        const mode = one(next, ['constant', 'constant', 'edge', 'reflect', 'wrap']);
        const dims = filled(next, 1, 3).map((dim) => dim + 2);
        const amount = (): number => (mode === 'constant' ? whole(next, -1, 3) : whole(next, 0, 2));
        const pads = longs('pads', ...[...dims, ...dims].map(amount));
        const value = mode === 'constant' && next() < 0.5 ? [operand(next, 'value', [])] : [];
        return made('Pad', [fed(next, 'x', dims), pads, ...value], { attributes: { mode: { string: mode } } });
      },
    ],
    [
      'Gather',
      (next) => {
        const dims = filled(next, 1);
        const axis = whole(next, -dims.length, dims.length - 1);
        const size = dims.at(axis)!;
        const count = one(next, SIZES);
        const at = longs('at', ...Array.from({ length: count }, () => whole(next, -size, size - 1)));
        return made('Gather', [fed(next, 'x', dims), at], { attributes: { axis: { int: axis } } });
      },
    ],
    [
      'Reshape',
      (next) => {
        const dims = filled(next);
        const sizes = [...dims].sort(() => next() - 0.5);
        if (sizes.length > 0 && next() < 0.5) sizes[whole(next, 0, sizes.length - 1)] = -1;
        return made('Reshape', [fed(next, 'x', dims), longs('sizes', ...sizes)]);
      },
    ],
    [
      'Squeeze',
      (next) => {
        const dims = shape(next, 1);
        const axis = whole(next, 0, dims.length - 1);
        return made('Squeeze', [fed(next, 'x', dims.with(axis, 1)), longs('axes', axis)]);
      },
    ],
    [
      'Unsqueeze',
      (next) => {
        const dims = shape(next, 0, 3);
        return made('Unsqueeze', [fed(next, 'x', dims), longs('axes', whole(next, -dims.length - 1, dims.length))]);
      },
    ],
    [
      'Flatten',
      (next) => {
        const dims = shape(next, 1);
        return made('Flatten', [fed(next, 'x', dims)], { attributes: { axis: { int: whole(next, 0, dims.length) } } });
      },
    ],
  ];
}

function rotations(): [string, Maker][] {
  const angles = (next: Next, rows: number, size: number): Operand[] =>
    ['cos', 'sin'].map((name) => ({ ...operand(next, name, [rows, size / 2], { special: [] }), isConstant: true }));
  const maker =
    (name: string, isOld: boolean): Maker =>
    (next) => {
      const [batch, heads, length] = [whole(next, 1, 3), whole(next, 1, 3), one(next, [1, 2, 5, 7])];
      const size = one(next, [2, 4, 8, 16]);
      const rows = length + whole(next, 0, 4);
      const dims = next() < 0.5 ? [batch, heads, length, size] : [batch, length, heads * size];
      const positions = Array.from({ length: batch * length }, () => whole(next, 0, rows - 1));
      const at: Operand = { ...longs('at', ...positions), dims: [batch, length] };
      const attributes = {
        interleaved: { int: whole(next, 0, 1) },
        ...(dims.length === 3 && { num_heads: { int: heads } }),
      };
      const operands = isOld
        ? [fed(next, 'x', dims), at, ...angles(next, rows, size)]
        : [fed(next, 'x', dims), ...angles(next, rows, size), at];
      return made(name, operands, { attributes, opset: 23, tolerance: [8, 32] });
    };
  return [
    ['RotaryEmbedding', maker('RotaryEmbedding', false)],
    [`${MS}RotaryEmbedding`, maker(`${MS}RotaryEmbedding`, true)],
  ];
}

function products(): [string, Maker][] {
  return [
    [
      'MatMul',
      (next) => {
        const [M, K, N] = [one(next, SIZES), whole(next, 1, 33), one(next, SIZES)] as const;
        const batch = shape(next, 0, 2);
        const own = repeated(next, batch);
        const a = fed(next, 'x', [...batch, M, K]);
        const b = operand(next, 'w', [...own, K, N]);
        return made('MatMul', [a, b], { tolerance: [0, 64 * K] });
      },
    ],
    [
      'Gemm',
      (next) => {
        const [M, K, N] = [whole(next, 1, 9), whole(next, 1, 33), whole(next, 1, 33)] as const;
        const isTurned = next() < 0.5;
        const w = { ...operand(next, 'w', isTurned ? [N, K] : [K, N]), isConstant: true };
        const c = next() < 0.5 ? [operand(next, 'c', one(next, [[N], [1, N], [M, N], [M, 1], [1], []]))] : [];
        const attributes = { transB: { int: +isTurned } };
        return made('Gemm', [fed(next, 'x', [M, K]), w, ...c], { attributes, tolerance: [2, 64 * K] });
      },
    ],
  ];
}

/** By operator. */
export const RANDOM_CASES: ReadonlyMap<string, Maker> = new Map([
  ...[...elementwise(), ...norms(), ...folds(), ...movements(), ...rotations(), ...products()],
]);

export const initializersOf = ({ operands }: RandomCase): TensorSpec[] =>
  operands.filter(({ isConstant }) => isConstant).map(({ name, dtype, dims, data }) => ({ name, dtype, dims, data }));
