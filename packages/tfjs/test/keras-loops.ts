/**
 * Loops of Keras's recurrent layers, node by node as tfjs-converter writes them: While lowered to frames (its default), or kept as a
 * StatelessWhile with functions; lists of TensorFlow 2, arrays of TensorFlow 1.
 */
import { b64, FLOAT, floats, type GraphEntry, ints, type NodeEntry, placeholder, type WeightEntry } from './graph.ts';

const INT = { type: 'DT_INT32' };
const VARIANT = { type: 'DT_VARIANT' };
const BOOL = { type: 'DT_BOOL' };

export type CellKind = 'lstm' | 'gru' | 'gruBefore' | 'simple' | 'basic';

export interface KerasLoop {
  readonly kind: CellKind;
  readonly K: number;
  readonly units: number;
  readonly form?: 'frames' | 'while';
  readonly lists?: 'list' | 'array';
  /**
   * `passed`: arguments of standard_lstm, variables of the loop that never change. `read`: variables that are read inside.
   */
  readonly weights?: 'passed' | 'read';
  readonly backwards?: boolean;
  readonly masked?: boolean;
  /** As dynamic_rnn of TensorFlow 1 masks: by lengths [batch], an input. */
  readonly lengths?: boolean;
  /** The output list has one place, for the last position. */
  readonly keepsLast?: boolean;
  readonly activation?: 'Tanh' | 'Relu' | 'Softplus';
  readonly gate?: 'Sigmoid' | 'hard' | 'hardOfKeras3' | 'clipped';
  /** Where i, f, g, o lie. */
  readonly order?: readonly number[];
  readonly stored?: WeightEntry['stored'];
  readonly forget?: number;
  /** Keras 3 adds the bias by AddV2. */
  /** Kernels are taken apart at each position, as `implementation: 1` has it, and a GRU's without `reset_after`. */
  readonly slices?: boolean;
  readonly bias?: 'BiasAdd' | 'AddV2' | 'none';
  /** Before a name of everything, so that several fit in one graph. */
  readonly at?: string;
  /** What it reads, [batch, positions, K]. */
  readonly input?: string;
  /** Without the second counter, that of maximum_iterations. */
  readonly plain?: boolean;
}

interface Variable {
  readonly name: string;
  readonly type: { type: string };
  /** Node around the loop. */
  readonly initial: string;
  /** Node of the body; nothing: it stays. */
  readonly next?: string;
}

const node = (name: string, op: string, input: string[], attr: Record<string, unknown> = {}): NodeEntry => ({
  name,
  op,
  input,
  attr,
});

/** What TensorFlow calls the outputs of ops. */
const OUTPUTS: Readonly<Record<string, string>> = {
  MatMul: 'product',
  _FusedMatMul: 'product',
  BiasAdd: 'output',
  Split: 'output',
  SplitV: 'output',
  Sigmoid: 'y',
  Tanh: 'y',
  TensorListGetItem: 'item',
  TensorListSetItem: 'output_handle',
  TensorArrayReadV3: 'value',
  TensorArrayWriteV3: 'flow_out',
  Const: 'output',
  Identity: 'output',
  Relu: 'activations',
  Softplus: 'activations',
  ZerosLike: 'y',
  Tile: 'output',
  SelectV2: 'output',
  Select: 'output',
  ConcatV2: 'output',
  StridedSlice: 'output',
  Unpack: 'output',
};

/** The body: inputs are variables, outer names (behind `=`), or nodes of the body. */
class BodyNodes {
  readonly nodes: NodeEntry[] = [];
  add(name: string, op: string, input: string[], attr: Record<string, unknown> = {}): string {
    this.nodes.push(node(name, op, input, { T: FLOAT, ...attr }));
    return name;
  }
}

const GATES = { lstm: 4, basic: 4, gru: 3, gruBefore: 3, simple: 1 } as const;

function gateOf(body: BodyNodes, name: string, input: string, gate: NonNullable<KerasLoop['gate']>): string {
  if (gate === 'Sigmoid') return body.add(name, 'Sigmoid', [input]);
  const sum =
    gate !== 'hardOfKeras3'
      ? body.add(`${name}/add`, 'AddV2', [body.add(`${name}/mul`, 'Mul', ['=point2', input]), '=half'])
      : body.add(`${name}/add`, 'AddV2', [body.add(`${name}/mul`, 'Mul', [input, '=sixth']), '=half']);
  if (gate === 'clipped') return body.add(name, 'ClipByValue', [sum, '=zero', '=one']);
  const least = body.add(`${name}/clip/Minimum`, 'Minimum', [sum, '=one']);
  return body.add(name, 'Maximum', [least, '=zero']);
}

/** @returns names of the next states */
function cell(body: BodyNodes, loop: KerasLoop, x: string): { h: string; c?: string } {
  const { kind, gate = 'Sigmoid', activation = 'Tanh', order = [0, 1, 2, 3], forget, bias = 'BiasAdd', units } = loop;
  const matMul = (name: string, a: string, b: string) =>
    body.add(name, 'MatMul', [a, b], { transpose_a: { b: false }, transpose_b: { b: false } });
  const biased = (name: string, of: string, with_: string) =>
    bias === 'none' ? of : body.add(name, bias, [of, with_]);
  const split = (name: string, of: string, count: number) =>
    body.add(name, 'Split', ['=split_dim', of], { num_split: { i: `${count}` } });
  const part = (of: string, index: number) => (index ? `${of}:${index}` : of);
  if (kind === 'simple') {
    const ofX = biased('BiasAdd', matMul('MatMul', x, 'kernel'), 'bias');
    return {
      h: body.add('act', activation, [body.add('add', 'AddV2', [ofX, matMul('MatMul_1', 'h', 'recurrent_kernel')])]),
    };
  }
  const columns = (name: string, of: string, from: string, end: string, begins: boolean, ends: boolean) =>
    body.add(name, 'StridedSlice', [of, `=${from}`, `=${end}`, '=ones'], {
      begin_mask: { i: begins ? '3' : '1' },
      end_mask: { i: ends ? '3' : '1' },
    });
  if (kind === 'lstm' && loop.slices) {
    const kernels = split('split_kernel', 'kernel', 4);
    const biases = body.add('split_bias', 'Split', ['=number0', 'bias'], { num_split: { i: '4' } });
    const sums = [0, 1, 2, 3].map((at) => {
      const ofX = biased(`BiasAdd_x${at}`, matMul(`MatMul_x${at}`, x, part(kernels, at)), part(biases, at));
      const own = columns(`part${at}`, 'recurrent_kernel', `columns${at}`, `columns${at + 1}`, at === 0, at === 3);
      return body.add(`sum${at}`, 'AddV2', [ofX, matMul(`MatMul_h${at}`, 'h', own)]);
    });
    const [i, f, g, o] = sums as [string, string, string, string];
    const keeps = body.add('mul', 'Mul', [gateOf(body, 'f', f, gate), 'c']);
    const gained = body.add('mul_1', 'Mul', [gateOf(body, 'i', i, gate), body.add('g', activation, [g])]);
    const c = body.add('add_1', 'AddV2', [keeps, gained]);
    return { h: body.add('mul_2', 'Mul', [gateOf(body, 'o', o, gate), body.add('c_act', activation, [c])]), c };
  }
  if (kind === 'lstm' || kind === 'basic') {
    const sum =
      kind === 'lstm'
        ? body.add('add', 'AddV2', [matMul('MatMul', x, 'kernel'), matMul('MatMul_1', 'h', 'recurrent_kernel')])
        : matMul('MatMul', body.add('concat', 'ConcatV2', [x, 'h', '=axis1'], { N: { i: '2' } }), 'kernel');
    const all = split('split', biased('BiasAdd', sum, 'bias'), 4);
    const [i, f, g, o] = order.map((at) => part(all, at)) as [string, string, string, string];
    const opened = gateOf(body, 'i', i, gate);
    const kept = gateOf(body, 'f', forget ? body.add('more', 'AddV2', [f, '=forget']) : f, gate);
    const keeps = body.add('mul', 'Mul', [kept, 'c']);
    const gained = body.add('mul_1', 'Mul', [opened, body.add('g', activation, [g])]);
    const c = body.add('add_1', 'AddV2', [keeps, gained]);
    const told = gateOf(body, 'o', o, gate);
    return { h: body.add('mul_2', 'Mul', [told, body.add('c_act', activation, [c])]), c };
  }
  const biases =
    kind === 'gru' && loop.slices
      ? body.add('unstack', 'Unpack', ['biases'], { axis: { i: '0' }, num: { i: '2' } })
      : undefined;
  const ofX = split('split', biased('BiasAdd', matMul('MatMul', x, 'kernel'), biases ?? 'bias'), 3);
  const [xz, xr, xn] = [0, 1, 2].map((at) => part(ofX, at)) as [string, string, string];
  const candidate = (sum: string) => body.add('n', activation, [sum]);
  let [z, n] = ['', ''];
  if (kind === 'gru') {
    const own = split(
      'split_1',
      biased(
        'BiasAdd_1',
        matMul('MatMul_1', 'h', 'recurrent_kernel'),
        biases === undefined ? 'recurrent_bias' : part(biases, 1),
      ),
      3,
    );
    z = gateOf(body, 'z', body.add('add', 'AddV2', [xz, part(own, 0)]), gate);
    const r = gateOf(body, 'r', body.add('add_1', 'AddV2', [xr, part(own, 1)]), gate);
    n = candidate(body.add('add_2', 'AddV2', [xn, body.add('mul', 'Mul', [r, part(own, 2)])]));
  } else {
    const { slices } = loop;
    const first = slices
      ? columns('part_first', 'recurrent_kernel', 'columns0', 'columns2', true, false)
      : 'recurrent_kernel';
    const last = slices
      ? columns('part_last', 'recurrent_kernel', 'columns2', 'columns0', false, true)
      : 'recurrent_kernel_n';
    const own = body.add('split_1', 'SplitV', [matMul('MatMul_1', 'h', first), '=sizes', '=axis1'], {
      num_split: { i: '2' },
    });
    z = gateOf(body, 'z', body.add('add', 'AddV2', [xz, part(own, 0)]), gate);
    const r = gateOf(body, 'r', body.add('add_1', 'AddV2', [xr, part(own, 1)]), gate);
    n = candidate(body.add('add_2', 'AddV2', [xn, matMul('MatMul_2', body.add('mul', 'Mul', [r, 'h']), last)]));
  }
  void units;
  const kept = body.add('mul_1', 'Mul', [z, 'h']);
  const open = body.add('mul_2', 'Mul', [body.add('sub', 'Sub', ['=one', z]), n]);
  return { h: body.add('add_3', 'AddV2', [kept, open]) };
}

function weightsOf({ kind, K, units, stored, bias, slices }: KerasLoop): WeightEntry[] {
  const gates = GATES[kind];
  const small = (entry: WeightEntry): WeightEntry => ({
    ...entry,
    values: entry.values.map((v) => v / 2) as Float32Array,
  });
  const matrices =
    kind === 'basic'
      ? [floats('kernel', [K + units, 4 * units], stored)]
      : kind === 'gruBefore' && !slices
        ? [
            floats('kernel', [K, 3 * units], stored),
            floats('recurrent_kernel', [units, 2 * units], stored),
            floats('recurrent_kernel_n', [units, units], stored, 5),
          ]
        : [floats('kernel', [K, gates * units], stored), floats('recurrent_kernel', [units, gates * units], stored)];
  const vectors =
    bias === 'none'
      ? []
      : kind === 'gru' && slices
        ? [floats('biases', [2, gates * units])]
        : [floats('bias', [gates * units]), ...(kind === 'gru' ? [floats('recurrent_bias', [gates * units])] : [])];
  return [...matrices, ...vectors].map(small);
}

/** Numbers that all loops share. */
function numbers(units: number, forget: number): WeightEntry[] {
  const float = (name: string, value: number): WeightEntry => ({ name, shape: [], values: Float32Array.of(value) });
  return [
    ints('split_dim', [1], []),
    ints('axis1', [1], []),
    ints('sizes', [units, -1]),
    float('one', 1),
    float('zero', 0),
    float('half', 0.5),
    float('point2', 0.2),
    float('sixth', 1 / 6),
    float('forget', forget),
    ints('number0', [0], []),
    ints('number1', [1], []),
    ints('turn', [1, 0, 2]),
    ints('axis0', [0]),
    ints('slice0', [0]),
    ints('slice1', [1]),
    ints('slice2', [2]),
    ints('last', [-1]),
    ints('units', [units], []),
    ints('element', [-1, units]),
    ints('element_of_x', [-1, -1]),
    ints('tile', [1, units]),
    ints('ones', [1, 1]),
    ...[0, 1, 2, 3, 4].map((at) => ints(`columns${at}`, [0, at * units])),
  ];
}

const shrunk = {
  begin_mask: { i: '0' },
  end_mask: { i: '0' },
  ellipsis_mask: { i: '0' },
  new_axis_mask: { i: '0' },
  shrink_axis_mask: { i: '1' },
  T: INT,
  Index: INT,
};

/**
 * x [batch, positions, K] (and mask [batch, positions]) in; out come `sequence` [batch, positions, units], `output` [batch, units],
 * `h` and `c`.
 */
export function kerasLoop(loop: KerasLoop): GraphEntry {
  const {
    kind,
    form = 'frames',
    lists = 'list',
    weights: passing = 'passed',
    backwards,
    masked,
    keepsLast,
    plain,
  } = loop;
  const { input = 'x', at = '', units, lengths } = loop;
  const weights = weightsOf(loop);
  const isLstm = kind === 'lstm' || kind === 'basic';
  const to = (name: string) => `${at}${name}`;
  const outer: NodeEntry[] = [];
  const out = (name: string, op: string, inputs: string[], attr: Record<string, unknown> = {}): string => {
    outer.push(node(to(name), op, inputs, attr));
    return to(name);
  };
  const perm = { T: FLOAT, Tperm: INT };
  const turned = out('transpose', 'Transpose', [input, 'turn'], perm);
  const shape = out('Shape', 'Shape', [turned], { T: FLOAT, out_type: INT });
  const steps = out('strided_slice', 'StridedSlice', [shape, 'slice0', 'slice1', 'slice1'], shrunk);
  const batch = out('strided_slice_1', 'StridedSlice', [shape, 'slice1', 'slice2', 'slice1'], shrunk);
  const ordered = backwards ? out('ReverseV2', 'ReverseV2', [turned, 'axis0'], { T: FLOAT, Tidx: INT }) : turned;
  const zeroShape = out('zeros/packed', 'Pack', [batch, 'units'], { N: { i: '2' }, axis: { i: '0' }, T: INT });
  const zeros = out('zeros', 'Fill', [zeroShape, 'zero'], { T: FLOAT, index_type: INT });
  const isArray = lists === 'array';
  const listOf = (name: string, tensor: string, type: object): string => {
    if (!isArray)
      return out(name, 'TensorListFromTensor', [tensor, 'element_of_x'], { element_dtype: type, shape_type: INT });
    out(`${name}/array`, 'TensorArrayV3', [steps], { dtype: type, element_shape: { shape: { unknownRank: true } } });
    const range = out(`${name}/range`, 'Range', ['number0', steps, 'number1'], { Tidx: INT });
    return out(name, 'TensorArrayScatterV3', [to(`${name}/array`), range, tensor, `${to(`${name}/array`)}:1`], {
      T: type,
    });
  };
  const inputs = listOf('unstack', ordered, FLOAT);
  const mask = masked
    ? listOf(
        'mask_list',
        out('mask_turned', 'Transpose', [out('mask_wide', 'ExpandDims', ['mask', 'last_axis'], { T: BOOL }), 'turn'], {
          T: BOOL,
          Tperm: INT,
        }),
        BOOL,
      )
    : undefined;
  const list = isArray
    ? out('TensorArray', 'TensorArrayV3', [keepsLast ? 'number1' : steps], {
        dtype: FLOAT,
        element_shape: { shape: { unknownRank: true } },
      })
    : out('TensorListReserve', 'TensorListReserve', ['element', keepsLast ? 'number1' : steps], {
        element_dtype: FLOAT,
        shape_type: INT,
      });

  const body = new BodyNodes();
  const read = (name: string, from: string, type: object) =>
    isArray
      ? body.add(name, 'TensorArrayReadV3', [`=${from}/array`, 'time', `=${from}`], { dtype: type })
      : body.add(name, 'TensorListGetItem', [from === inputs ? 'inputs' : 'masks', 'time', '=element_of_x'], {
          element_dtype: type,
        });
  const x = read('read', inputs, FLOAT);
  let { h, c } = cell(body, loop, x);
  let told = h;
  if (mask) {
    const m = body.add('tiled', 'Tile', [read('read_mask', mask, BOOL), '=tile'], { T: BOOL });
    told = body.add('select', 'SelectV2', [m, h, 'previous']);
    h = body.add('select_1', 'SelectV2', [m, h, 'h']);
    if (c) c = body.add('select_2', 'SelectV2', [m, c, 'c']);
  }
  if (lengths) {
    const over = body.add('over', 'GreaterEqual', ['time', 'lengths'], { T: INT });
    told = body.add('select', 'Select', [over, body.add('nothing', 'ZerosLike', [h]), h]);
    h = body.add('select_1', 'Select', [over, 'h', h]);
    if (c) c = body.add('select_2', 'Select', [over, 'c', c]);
  }
  const where = keepsLast ? '=number0' : 'time';
  const written = isArray
    ? body.add('write', 'TensorArrayWriteV3', [`=${list}`, where, told, 'list'], { T: FLOAT })
    : body.add('write', 'TensorListSetItem', ['list', where, told], { element_dtype: FLOAT });
  const counted = (name: string) => body.add(`${name}/next`, 'AddV2', [name, '=number1'], { T: INT });
  const variables: Variable[] = [
    ...(plain
      ? []
      : [
          { name: 'loop_counter', type: INT, initial: 'number0', next: counted('loop_counter') },
          { name: 'maximum_iterations', type: INT, initial: steps },
        ]),
    { name: 'time', type: INT, initial: 'number0', next: counted('time') },
    { name: 'list', type: isArray ? FLOAT : VARIANT, initial: isArray ? `${list}:1` : list, next: written },
    ...(mask ? [{ name: 'previous', type: FLOAT, initial: zeros, next: told }] : []),
    { name: 'h', type: FLOAT, initial: zeros, next: h },
    ...(isLstm ? [{ name: 'c', type: FLOAT, initial: zeros, next: c! }] : []),
    { name: 'steps', type: INT, initial: steps },
    ...(lengths ? [{ name: 'lengths', type: INT, initial: 'lengths' }] : []),
    ...(isArray ? [] : [{ name: 'inputs', type: VARIANT, initial: inputs }]),
    ...(mask && !isArray ? [{ name: 'masks', type: VARIANT, initial: mask }] : []),
    ...(passing === 'passed' || form === 'while'
      ? weights.map(({ name }) => ({ name, type: FLOAT, initial: to(name) }))
      : []),
  ];
  const made = { loop, variables, body: body.nodes, outer, to, weights: weights.map(({ name }) => name), plain };
  const { nodes, functions, exit } = form === 'frames' ? framesFrom(made) : whileFrom(made);
  outer.push(...nodes);
  const stacked = isArray
    ? (() => {
        const size = out('TensorArraySizeV3', 'TensorArraySizeV3', [list, exit('list')]);
        const range = out('stack/range', 'Range', ['number0', size, 'number1'], { Tidx: INT });
        return out('stack', 'TensorArrayGatherV3', [list, range, exit('list')], { dtype: FLOAT });
      })()
    : out('stack', 'TensorListStack', [exit('list'), 'element'], {
        element_dtype: FLOAT,
        num_elements: { i: keepsLast ? '1' : '-1' },
      });
  out('sequence', 'Transpose', [stacked, 'turn'], perm);
  out('output', 'StridedSlice', [stacked, 'last', 'slice0', 'slice1'], { ...shrunk, T: FLOAT, end_mask: { i: '1' } });
  out('h', 'Identity', [exit('h')], { T: FLOAT });
  if (isLstm) out('c', 'Identity', [exit('c')], { T: FLOAT });
  out('time', 'Identity', [exit('time')], { T: INT });
  const names = ['sequence', 'output', 'h', ...(isLstm ? ['c'] : [])];
  return {
    nodes: [
      ...(input === 'x' ? [placeholder('x')] : []),
      ...(masked ? [placeholder('mask', 'DT_BOOL')] : []),
      ...(lengths ? [placeholder('lengths', 'DT_INT32')] : []),
      ...outer,
    ],
    weights: [
      ...numbers(units, loop.forget ?? 1),
      ...(masked ? [ints('last_axis', [-1], [])] : []),
      ...weights.map((weight) => ({ ...weight, name: to(weight.name) })),
    ],
    ...(functions && { functions }),
    outputs: names.map(to),
  };
}

interface Made {
  readonly loop: KerasLoop;
  readonly variables: readonly Variable[];
  readonly body: readonly NodeEntry[];
  readonly to: (name: string) => string;
  /** Names of weights, which a body may read without their being variables. */
  readonly weights: readonly string[];
  readonly plain: boolean | undefined;
}

interface Printed {
  readonly nodes: readonly NodeEntry[];
  readonly functions?: readonly object[];
  readonly exit: (variable: string) => string;
}

/** As lower_while_op of TensorFlow writes them. */
function framesFrom({ variables, body, to, weights, plain }: Made): Printed {
  const at = (name: string) => to(`while/${name}`);
  const frame = (isConstant: boolean, T: object) => ({
    frame_name: b64(at('while_context')),
    parallel_iterations: { i: '32' },
    is_constant: { b: isConstant },
    T,
  });
  const fixed = new Map<string, NodeEntry[]>();
  const enter = (outer: string, T: object = FLOAT): string => {
    const name = at(`fixed/${outer.replaceAll(':', '_')}`);
    if (!fixed.has(name)) fixed.set(name, [node(name, 'Enter', [outer], frame(true, T))]);
    return name;
  };
  const named = new Map(variables.map(({ name }) => [name, `${at(`switch/${name}`)}:1`]));
  const own = new Set(body.map(({ name }) => name));
  const read = (input: string): string => {
    // Constants of a body stay constants; what is made around the loop is entered.
    if (input.startsWith('='))
      return input.includes('Array') || input.includes('stack') || input.includes('list')
        ? enter(input.slice(1))
        : input.slice(1);
    const [name = '', index] = input.split(':');
    if (own.has(name)) return index ? `${at(`body/_1/${name}`)}:${index}` : at(`body/_1/${name}`);
    return named.get(name) ?? enter(to(weights.find((weight) => weight === name)!));
  };
  const bodies = body.map((one) => ({ ...one, name: at(`body/_1/${one.name}`), input: one.input!.map(read) }));
  const nodes: NodeEntry[] = [];
  for (const { name, type, initial, next } of variables)
    nodes.push(
      node(at(`enter/${name}`), 'Enter', [initial], frame(false, type)),
      node(at(`merge/${name}`), 'Merge', [at(`enter/${name}`), at(`next_iteration/${name}`)], {
        N: { i: '2' },
        T: type,
      }),
      node(at(`switch/${name}`), 'Switch', [at(`merge/${name}`), at('loop_cond')], { T: type }),
      node(
        at(`next_iteration/${name}`),
        'NextIteration',
        [next === undefined ? `${at(`switch/${name}`)}:1` : read(next)],
        {
          T: type,
        },
      ),
      node(at(`exit/${name}`), 'Exit', [at(`switch/${name}`)], { T: type }),
    );
  const less = node(at('cond/_0/Less'), 'Less', [at('merge/time'), at('merge/steps')], { T: INT });
  const both = plain
    ? [less]
    : [
        node(at('cond/_0/Less_1'), 'Less', [at('merge/loop_counter'), at('merge/maximum_iterations')], { T: INT }),
        less,
        node(at('cond/_0/LogicalAnd'), 'LogicalAnd', [at('cond/_0/Less_1'), at('cond/_0/Less')]),
      ];
  nodes.push(...both, node(at('loop_cond'), 'LoopCond', [both.at(-1)!.name]), ...[...fixed.values()].flat(), ...bodies);
  // What waited for the whole loop waits for all of its exits.
  return { nodes, exit: (name) => at(`exit/${name}`) };
}

function whileFrom({ variables, body, to, plain }: Made): Printed {
  const type = ({ type: { type: of } }: Variable) => of;
  const inputArg = variables.map((own) => ({ name: `in_${own.name}`, type: type(own) }));
  const outputArg = variables.map((own) => ({ name: `out_${own.name}`, type: type(own) }));
  const names = new Set(variables.map(({ name }) => name));
  const own = new Map(body.map(({ name, op }) => [name, op]));
  const constants = new Map<string, NodeEntry>();
  const read = (input: string): string => {
    if (input.startsWith('=')) {
      const name = input.slice(1);
      const isInt = /^(split|axis|sizes|number|element|tile|ones|columns)/.test(name);
      constants.set(name, { name, op: 'Const', attr: { dtype: isInt ? INT : FLOAT } });
      return `${name}:output:0`;
    }
    const [name = '', index = '0'] = input.split(':');
    if (names.has(name)) return `in_${name}`;
    return `${name}:${OUTPUTS[own.get(name) ?? ''] ?? 'z'}:${index}`;
  };
  const nodeDef = body.map((one) => ({ ...one, input: one.input!.map(read) }));
  const ret = Object.fromEntries(
    variables.map(({ name, next }) => [`out_${name}`, next === undefined ? `in_${name}` : read(next)]),
  );
  const less = node('Less', 'Less', ['in_time', 'in_steps'], { T: INT });
  const condition = plain
    ? [less]
    : [
        less,
        node('Less_1', 'Less', ['in_loop_counter', 'in_maximum_iterations'], { T: INT }),
        node('LogicalAnd', 'LogicalAnd', ['Less:z:0', 'Less_1:z:0']),
      ];
  const [bodyName, condName] = [to('while_body').replaceAll('/', '_'), to('while_cond').replaceAll('/', '_')];
  const functions = [
    { signature: { name: bodyName, inputArg, outputArg }, nodeDef: [...constants.values(), ...nodeDef], ret },
    {
      signature: { name: condName, inputArg, outputArg: [{ name: 'go', type: 'DT_BOOL' }] },
      nodeDef: condition,
      ret: { go: `${condition.at(-1)!.name}:z:0` },
    },
  ];
  const loop = node(
    to('while'),
    'StatelessWhile',
    variables.map(({ initial }) => initial),
    {
      body: { func: { name: bodyName } },
      cond: { func: { name: condName } },
      T: { list: { type: variables.map(type) } },
    },
  );
  const exit = (name: string) => {
    const at = variables.findIndex((one) => one.name === name);
    return at ? `${to('while')}:${at}` : to('while');
  };
  return { nodes: [loop], functions, exit };
}

/** The same layer with `unroll`: x [batch, positions, K] in, h (and c) out. */
export function kerasUnrolled(loop: KerasLoop, positions: number): GraphEntry {
  const { kind, units } = loop;
  const isLstm = kind === 'lstm' || kind === 'basic';
  const weights = weightsOf(loop);
  const nodes: NodeEntry[] = [
    placeholder('x'),
    node('steps', 'Unpack', ['x'], { axis: { i: '1' }, num: { i: `${positions}` }, T: FLOAT }),
    node('shape', 'Shape', ['x'], { T: FLOAT, out_type: INT }),
    node('batch', 'StridedSlice', ['shape', 'slice0', 'slice1', 'slice1'], shrunk),
    node('zeros/packed', 'Pack', ['batch', 'units'], { N: { i: '2' }, axis: { i: '0' }, T: INT }),
    node('zeros', 'Fill', ['zeros/packed', 'zero'], { T: FLOAT, index_type: INT }),
  ];
  let states: { h: string; c?: string } = { h: 'zeros', c: 'zeros' };
  for (let t = 0; t < positions; t++) {
    const body = new BodyNodes();
    const next = cell(body, loop, t ? `steps:${t}` : 'steps');
    const own = new Set(body.nodes.map(({ name }) => name));
    const at = (input: string): string => {
      const [name = ''] = input.split(':');
      if (own.has(name)) return `cell${t}/${input}`;
      if (input.startsWith('=')) return input.slice(1);
      return input === 'h' ? states.h : input === 'c' ? states.c! : input;
    };
    nodes.push(...body.nodes.map((one) => ({ ...one, name: `cell${t}/${one.name}`, input: one.input!.map(at) })));
    states = { h: at(next.h), ...(next.c !== undefined && { c: at(next.c) }) };
  }
  nodes.push(node('h', 'Identity', [states.h], { T: FLOAT }));
  if (isLstm) nodes.push(node('c', 'Identity', [states.c!], { T: FLOAT }));
  return { nodes, weights: [...numbers(units, loop.forget ?? 1), ...weights], outputs: isLstm ? ['h', 'c'] : ['h'] };
}
