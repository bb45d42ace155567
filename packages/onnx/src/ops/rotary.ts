/** Rotary position embeddings, in the form of com.microsoft and in that of ONNX 23. */
import { checkPositions, type RotaryOp, rotaryOnWasm as rotary, rotaryShape } from '@msd/core/nn';
import type { Info, Size } from '../ir/info.ts';
import type { Match, Matcher } from '../passes/matcher.ts';
import { emitOp } from './lowering.ts';
import type { NodeView, Operator } from './operator.ts';

const infer: Operator['infer'] = (_, [x]) => [x && { elemType: x.elemType, dims: x.dims }];

interface Roles {
  readonly x: string;
  readonly cos: string;
  readonly sin: string;
  /** '' = one row of cos and sin for each token. */
  readonly positions: string;
}

/** Elements of a head that are turned, where one has no partner: what ONNX Runtime makes of that one is its own. */
function oddWidth(view: NodeView, x: Info | undefined): number | undefined {
  const width = view.int('rotary_embedding_dim', 0) || headSize(view, x);
  return typeof width === 'number' && width % 2 !== 0 ? width : undefined;
}

/** Elements of a head, as far as they are known. */
function headSize(view: NodeView, x: Info | undefined): Size | undefined {
  const hidden = x?.dims?.at(-1);
  if (x?.dims?.length === 4) return hidden;
  const heads = view.int('num_heads', 0);
  return typeof hidden === 'number' && heads > 0 ? hidden / heads : undefined;
}

function rotaryMatch(view: NodeView, matcher: Matcher, { x, cos, sin, positions }: Roles): Match | string {
  const { node } = view;
  for (const [what, name] of Object.entries({ x, cos, sin })) {
    const refused = matcher.notFloat(what, name);
    if (refused !== undefined) return refused;
  }
  if (positions !== '' && !matcher.isHostOperand(positions)) return 'positions are not at hand';
  if (view.float('scale', 1) !== 1) return `scale is ${view.float('scale', 1)}`;
  if (view.int('is_packed_batching', 0) !== 0) return 'batches are packed';
  const odd = oddWidth(view, matcher.info(x));
  if (odd !== undefined) return `${odd} elements of a head are turned`;
  const outputs = [node.outputs[0] ?? ''];
  return {
    op: 'rotary',
    place: 'device',
    nodes: [node],
    inputs: [x, cos, sin, positions],
    outputs,
    resources: matcher.constants([x, cos, sin]),
    lower(to) {
      const operands = [to.slot(x), to.slot(cos), to.slot(sin)];
      const op: RotaryOp = {
        interleaved: view.int('interleaved', 0) === 1,
        // Rows [batch, heads, …] say it themselves, whatever the attribute says.
        heads: (to.info(x).dims.length < 4 && view.int('num_heads', 0)) || undefined,
        rotaryDim: view.int('rotary_embedding_dim', 0) || undefined,
      };
      const odd = oddWidth(view, to.info(x));
      if (odd !== undefined) view.fail('x', 'heads of an even size', `${odd} elements each`);
      const types =
        positions === '' ? operands : [...operands, { dtype: 'i32' as const, dims: to.info(positions).dims }];
      const shape = rotaryShape(op, types);
      const at = positions === '' ? undefined : to.indices(positions, (values) => checkPositions(shape, values));
      emitOp(to, rotary, op, at ? [...operands, at] : operands, outputs);
    },
  };
}

const ATTRIBUTES = ['interleaved', 'num_heads', 'rotary_embedding_dim'] as const;

export const rotaryOperators: readonly Operator[] = [
  {
    name: 'com.microsoft.RotaryEmbedding',
    attributes: [...ATTRIBUTES, 'scale', 'is_packed_batching'],
    infer,
    match(view, matcher) {
      const [x = '', positions = '', cos = '', sin = ''] = view.node.inputs;
      return rotaryMatch(view, matcher, { x, cos, sin, positions });
    },
  },
  {
    name: 'RotaryEmbedding',
    attributes: ATTRIBUTES,
    infer,
    match(view, matcher) {
      const [x = '', cos = '', sin = '', positions = ''] = view.node.inputs;
      return rotaryMatch(view, matcher, { x, cos, sin, positions });
    },
  },
];
