/** Operators that ONNX Runtime runs: the types of their results, so that MSD can take the nodes behind them. */
import { BOOL, INT32, INT64 } from '../data-types.ts';
import type { Info } from '../ir/info.ts';
import { branchesOf, type Operator } from './operator.ts';

/** The first result has type and sizes of the first operand. */
const SAME: readonly string[] = [
  'CumSum',
  'Dropout',
  'InstanceNormalization',
  'LpNormalization',
  'Mish',
  'PRelu',
  'ScatterElements',
  'ScatterND',
  'Selu',
  'TensorScatter',
  'Trilu',
];

/** The first result has the element type of the first operand, and other sizes. */
const SAME_TYPE: readonly string[] = [
  'Compress',
  'ConvTranspose',
  'DepthToSpace',
  'Einsum',
  'Resize',
  'SpaceToDepth',
  'TopK',
  'Upsample',
  'com.microsoft.FusedConv',
  'com.microsoft.FusedMatMul',
  'com.microsoft.GroupNorm',
  'com.microsoft.MoE',
  'com.microsoft.SparseAttention',
  'com.microsoft.TransposeMatMul',
];

/** The first result has this element type. */
const TYPED: Readonly<Record<string, number>> = {
  IsInf: BOOL,
  NonZero: INT64,
};

/** One of several tensors that the model holds. */
const choice: Operator['infer'] = ({ node }, _, symbols) => {
  const branches = branchesOf(node);
  return node.outputs.map((_, i) => {
    const [a, b] = branches?.map((tensors) => tensors[i]) ?? [];
    if (!a || !b || a.elemType !== b.elemType || a.dims.length !== b.dims.length) return undefined;
    return { elemType: a.elemType, dims: a.dims.map((dim, d) => (dim === b.dims[d] ? dim : symbols.fresh())) };
  });
};

/** Words with their places and segments, normalized; lengths of the sequences; perhaps what was normalized. */
const embedded: Operator['infer'] = (_, [ids, , words]) => {
  const [size, width] = [ids?.dims, words?.dims?.[1]];
  const elemType = words?.elemType ?? 0;
  const dims = size && width !== undefined ? [...size, width] : undefined;
  return [
    { elemType, dims },
    { elemType: INT32, dims: size && [size[0]!] },
    { elemType, dims },
  ];
};

const first =
  (info: (x: Info) => Info): Operator['infer'] =>
  (_, [x]) => [x && info(x)];

export const foreignOperators: readonly Operator[] = [
  ...SAME.map((name): Operator => ({ name, infer: first(({ elemType, dims }) => ({ elemType, dims })) })),
  ...SAME_TYPE.map((name): Operator => ({ name, infer: first(({ elemType }) => ({ elemType, dims: undefined })) })),
  // An element for every index.
  { name: 'GatherElements', infer: (_, [x, indices]) => [x && { elemType: x.elemType, dims: indices?.dims }] },
  {
    name: 'If',
    hasBodies: true,
    infer: choice,
  },
  { name: 'Loop', hasBodies: true, infer: () => [] },
  { name: 'Scan', hasBodies: true, infer: () => [] },
  { name: 'com.microsoft.EmbedLayerNormalization', infer: embedded },
  ...Object.entries(TYPED).map(
    ([name, elemType]): Operator => ({ name, infer: () => [{ elemType, dims: undefined }] }),
  ),
];
