/** Keras's LSTM and GRU as converters spell them: unrolled, as a loop of frames, and as a While with functions. */
import type { GraphEntry, NodeEntry, WeightEntry } from './graph.ts';
import { FLOAT, floats, ints, placeholder } from './graph.ts';

const INT = { type: 'DT_INT32' };
const node = (name: string, op: string, input: string[], attr: Record<string, unknown> = {}): NodeEntry => ({
  name,
  op,
  input,
  attr,
});

const output = (name: string, index: number) => (index ? `${name}:${index}` : name);

export interface CellNames {
  readonly x: string;
  readonly h: string;
  readonly c?: string | undefined;
  readonly kernel: string;
  readonly recurrentKernel: string;
  readonly bias: string;
  /** Of a GRU, which has two. */
  readonly recurrentBias?: string;
}

/** Names of constants that a body needs besides. */
export const CELL_CONSTANTS = ['split_dim', 'one'];

/** What TensorFlow calls the outputs of ops; functions name them, graphs do not. */
const OUTPUTS: Readonly<Record<string, string>> = {
  MatMul: 'product',
  BiasAdd: 'output',
  Split: 'output',
  Sigmoid: 'y',
  Tanh: 'y',
};

/** @param at names of nodes; `at('h')` and `at('c')` are the next states */
export function cellNodes(
  kind: 'lstm' | 'gru',
  at: (name: string) => string,
  names: CellNames,
  isFunction = false,
): NodeEntry[] {
  const { x, h, c, kernel, recurrentKernel, bias, recurrentBias } = names;
  const ops = new Map<string, string>();
  const made = (name: string, op: string, input: string[], attr: Record<string, unknown> = {}) => {
    ops.set(name, op);
    return node(at(name), op, input, { T: FLOAT, ...attr });
  };
  const of = (name: string, index = 0) =>
    isFunction ? `${at(name)}:${OUTPUTS[ops.get(name)!] ?? 'z'}:${index}` : output(at(name), index);
  const split = (name: string, input: string, count: number) =>
    made(name, 'Split', ['split_dim', input], { num_split: { i: `${count}` } });
  const matMul = (name: string, a: string, b: string) =>
    made(name, 'MatMul', [a, b], { transpose_a: { b: false }, transpose_b: { b: false } });
  const one = (name: string, op: string, ...input: string[]) => made(name, op, input);
  if (kind === 'lstm')
    return [
      matMul('mm', x, kernel),
      matMul('mm1', h, recurrentKernel),
      one('add', 'AddV2', of('mm'), of('mm1')),
      one('bias', 'BiasAdd', of('add'), bias),
      split('split', of('bias'), 4),
      one('i', 'Sigmoid', of('split')),
      one('f', 'Sigmoid', of('split', 1)),
      one('kept', 'Mul', of('f'), c!),
      one('g', 'Tanh', of('split', 2)),
      one('gained', 'Mul', of('i'), of('g')),
      one('c', 'AddV2', of('kept'), of('gained')),
      one('o', 'Sigmoid', of('split', 3)),
      one('told', 'Tanh', of('c')),
      one('h', 'Mul', of('o'), of('told')),
    ];
  return [
    matMul('mm', x, kernel),
    one('bias', 'BiasAdd', of('mm'), bias),
    split('split', of('bias'), 3),
    matMul('mm1', h, recurrentKernel),
    one('bias1', 'BiasAdd', of('mm1'), recurrentBias!),
    split('split1', of('bias1'), 3),
    one('addz', 'AddV2', of('split'), of('split1')),
    one('z', 'Sigmoid', of('addz')),
    one('addr', 'AddV2', of('split', 1), of('split1', 1)),
    one('r', 'Sigmoid', of('addr')),
    one('left', 'Mul', of('r'), of('split1', 2)),
    one('addn', 'AddV2', of('split', 2), of('left')),
    one('n', 'Tanh', of('addn')),
    one('kept', 'Mul', of('z'), h),
    one('open', 'Sub', 'one', of('z')),
    one('gained', 'Mul', of('open'), of('n')),
    one('h', 'AddV2', of('kept'), of('gained')),
  ];
}

export interface RecurrentGraph {
  readonly kind: 'lstm' | 'gru';
  readonly positions: number;
  readonly K: number;
  readonly units: number;
  readonly stored?: WeightEntry['stored'];
}

function weightsOf({ kind, K, units, stored }: RecurrentGraph): WeightEntry[] {
  const gates = kind === 'lstm' ? 4 : 3;
  const small = (entry: WeightEntry): WeightEntry => ({
    ...entry,
    values: (entry.values as Float32Array).map((v) => v / 2),
  });
  return [
    small(floats('kernel', [K, gates * units], stored)),
    small(floats('recurrent_kernel', [units, gates * units], stored)),
    small(floats('bias', [gates * units])),
    ...(kind === 'gru' ? [small(floats('recurrent_bias', [gates * units]))] : []),
    ints('split_dim', [-1], []),
    { name: 'one', shape: [], values: Float32Array.of(1) },
  ];
}

const states = (kind: 'lstm' | 'gru') => (kind === 'lstm' ? ['h', 'c'] : ['h']);
const namesOf = (kind: 'lstm' | 'gru', in_: (name: string) => string) => ({
  kernel: in_('kernel'),
  recurrentKernel: in_('recurrent_kernel'),
  bias: in_('bias'),
  ...(kind === 'gru' && { recurrentBias: in_('recurrent_bias') }),
});

/** x: [positions, batch, K]; h0, c0: [batch, units]. Outputs: the last states, named h and c. */
export function unrolled(graph: RecurrentGraph): GraphEntry {
  const { kind, positions } = graph;
  const nodes: NodeEntry[] = [
    placeholder('x'),
    ...states(kind).map((name) => placeholder(`${name}0`)),
    node('steps', 'Unpack', ['x'], { axis: { i: '0' }, num: { i: `${positions}` }, T: FLOAT }),
  ];
  for (let t = 0; t < positions; t++) {
    const at = (name: string) => `cell${t}/${name}`;
    const before = (name: string) => (t === 0 ? `${name}0` : `cell${t - 1}/${name}`);
    const names = { x: output('steps', t), h: before('h'), c: kind === 'lstm' ? before('c') : undefined };
    nodes.push(...cellNodes(kind, at, { ...names, ...namesOf(kind, (name) => name) }));
  }
  const last = states(kind).map((name) => node(name, 'Identity', [`cell${positions - 1}/${name}`], { T: FLOAT }));
  return { nodes: [...nodes, ...last], weights: weightsOf(graph), outputs: states(kind) };
}

/** A loop of frames: Enter, Merge, Switch, NextIteration, Exit. */
export function framed(graph: RecurrentGraph): GraphEntry {
  const { kind, positions } = graph;
  const frame = { frame_name: { s: btoa('while/context') }, parallel_iterations: { i: '32' } };
  const enter = (name: string, of: string, isConstant = false) =>
    node(`while/enter_${name}`, 'Enter', [of], { ...frame, is_constant: { b: isConstant }, T: FLOAT });
  const variables = ['t', ...states(kind)];
  const fixed = ['kernel', 'recurrent_kernel', 'bias', ...(kind === 'gru' ? ['recurrent_bias'] : [])];
  const nodes: NodeEntry[] = [
    placeholder('x'),
    ...states(kind).map((name) => placeholder(`${name}0`)),
    ...variables.map((name) => enter(name, `${name}0`)),
    ...fixed.map((name) => enter(name, name, true)),
    enter('x', 'x', true),
    enter('positions', 'positions', true),
    enter('next', 'next', true),
    enter('axis', 'axis', true),
    enter('split_dim', 'split_dim', true),
    enter('one', 'one', true),
    ...variables.map((name) =>
      node(`while/merge_${name}`, 'Merge', [`while/enter_${name}`, `while/next_${name}`], { N: { i: '2' }, T: FLOAT }),
    ),
    node('while/less', 'Less', ['while/merge_t', 'while/enter_positions'], { T: INT }),
    node('while/cond', 'LoopCond', ['while/less']),
    ...variables.map((name) =>
      node(`while/switch_${name}`, 'Switch', [`while/merge_${name}`, 'while/cond'], { T: FLOAT }),
    ),
    ...variables.map((name) => node(`while/${name}_in`, 'Identity', [`while/switch_${name}:1`], { T: FLOAT })),
    node('while/row', 'GatherV2', ['while/enter_x', 'while/t_in', 'while/enter_axis'], { batch_dims: { i: '0' } }),
    ...cellNodes(kind, (name) => `while/cell/${name}`, {
      x: 'while/row',
      h: 'while/h_in',
      c: kind === 'lstm' ? 'while/c_in' : undefined,
      ...namesOf(kind, (name) => `while/enter_${name}`),
    }).map((own) => ({
      ...own,
      input: own.input!.map((name) => (CELL_CONSTANTS.includes(name) ? `while/enter_${name}` : name)),
    })),
    node('while/t_next', 'AddV2', ['while/t_in', 'while/enter_next'], { T: INT }),
    node('while/next_t', 'NextIteration', ['while/t_next'], { T: INT }),
    ...states(kind).map((name) => node(`while/next_${name}`, 'NextIteration', [`while/cell/${name}`], { T: FLOAT })),
    ...variables.map((name) => node(`while/exit_${name}`, 'Exit', [`while/switch_${name}`], { T: FLOAT })),
    ...states(kind).map((name) => node(name, 'Identity', [`while/exit_${name}`], { T: FLOAT })),
  ];
  const more = [ints('t0', [0], []), ints('positions', [positions], []), ints('next', [1], []), ints('axis', [0], [])];
  return { nodes, weights: [...weightsOf(graph), ...more], outputs: states(kind) };
}

/** A While whose body and condition are functions, which get the weights as arguments. */
export function functional(graph: RecurrentGraph): GraphEntry {
  const { kind, positions } = graph;
  const fixed = ['kernel', 'recurrent_kernel', 'bias', ...(kind === 'gru' ? ['recurrent_bias'] : [])];
  const variables = ['t', ...states(kind), 'x', ...fixed];
  const argument = (name: string) => ({ name: `in_${name}`, type: name === 't' ? 'DT_INT32' : 'DT_FLOAT' });
  const result = (name: string) => ({ name: `out_${name}`, type: name === 't' ? 'DT_INT32' : 'DT_FLOAT' });
  const at = (name: string) => `cell_${name}`;
  const body = {
    signature: { name: 'body', inputArg: variables.map(argument), outputArg: variables.map(result) },
    nodeDef: [
      { name: 'split_dim', op: 'Const', attr: { dtype: INT } },
      { name: 'one', op: 'Const', attr: { dtype: FLOAT } },
      { name: 'next', op: 'Const', attr: { dtype: INT } },
      { name: 'axis', op: 'Const', attr: { dtype: INT } },
      node('row', 'GatherV2', ['in_x', 'in_t', 'axis:output:0'], { batch_dims: { i: '0' } }),
      ...cellNodes(
        kind,
        at,
        {
          x: 'row:output:0',
          h: 'in_h',
          c: kind === 'lstm' ? 'in_c' : undefined,
          ...namesOf(kind, (name) => `in_${name}`),
        },
        true,
      ).map((own) => ({
        ...own,
        input: own.input!.map((name) => (CELL_CONSTANTS.includes(name) ? `${name}:output:0` : name)),
      })),
      node('t_next', 'AddV2', ['in_t', 'next:output:0'], { T: INT }),
      node('same_kernel', 'Identity', ['in_kernel'], { T: FLOAT }),
    ],
    ret: {
      out_t: 't_next:z:0',
      out_h: `${at('h')}:z:0`,
      ...(kind === 'lstm' && { out_c: `${at('c')}:z:0` }),
      out_x: 'in_x',
      ...Object.fromEntries(
        fixed.map((name) => [`out_${name}`, name === 'kernel' ? 'same_kernel:output:0' : `in_${name}`]),
      ),
    },
  };
  const cond = {
    signature: { name: 'cond', inputArg: variables.map(argument), outputArg: [{ name: 'go', type: 'DT_BOOL' }] },
    nodeDef: [
      { name: 'positions', op: 'Const', attr: { dtype: INT } },
      node('less', 'Less', ['in_t', 'positions:output:0'], { T: INT }),
    ],
    ret: { go: 'less:z:0' },
  };
  const inputs = variables.map((name) => (['t', ...states(kind)].includes(name) ? `${name}0` : name));
  const loop = node('while', 'StatelessWhile', inputs, {
    body: { func: { name: 'body' } },
    cond: { func: { name: 'cond' } },
    T: { list: { type: variables.map((name) => (name === 't' ? 'DT_INT32' : 'DT_FLOAT')) } },
  });
  const out = states(kind).map((name, i) => node(name, 'Identity', [`while:${i + 1}`], { T: FLOAT }));
  const more = [ints('t0', [0], []), ints('positions', [positions], []), ints('next', [1], []), ints('axis', [0], [])];
  return {
    nodes: [placeholder('x'), ...states(kind).map((name) => placeholder(`${name}0`)), loop, ...out],
    weights: [...weightsOf(graph), ...more],
    functions: [body, cond],
    outputs: states(kind),
  };
}

/** BasicLSTMCell of TensorFlow 1: one product of x and h side by side; its gates are i, g, f, o, with 1 added to f. */
export function basic({ positions, K, units }: Omit<RecurrentGraph, 'kind'>): GraphEntry {
  const nodes: NodeEntry[] = [
    placeholder('x'),
    placeholder('h0'),
    placeholder('c0'),
    node('steps', 'Unpack', ['x'], { axis: { i: '0' }, num: { i: `${positions}` }, T: FLOAT }),
  ];
  for (let t = 0; t < positions; t++) {
    const at = (name: string, index = 0) => output(`cell${t}/${name}`, index);
    const before = (name: string) => (t === 0 ? `${name}0` : `cell${t - 1}/${name}`);
    const one = (name: string, op: string, ...input: string[]) => node(at(name), op, input, { T: FLOAT });
    nodes.push(
      node(at('both'), 'ConcatV2', [output('steps', t), before('h'), 'axis'], { N: { i: '2' }, T: FLOAT }),
      one('mm', 'MatMul', at('both'), 'kernel'),
      one('bias', 'BiasAdd', at('mm'), 'bias'),
      node(at('split'), 'Split', ['axis', at('bias')], { num_split: { i: '4' }, T: FLOAT }),
      one('i', 'Sigmoid', at('split')),
      one('g', 'Tanh', at('split', 1)),
      one('more', 'Add', at('split', 2), 'one'),
      one('f', 'Sigmoid', at('more')),
      one('o', 'Sigmoid', at('split', 3)),
      one('kept', 'Mul', before('c'), at('f')),
      one('gained', 'Mul', at('i'), at('g')),
      one('c', 'Add', at('kept'), at('gained')),
      one('told', 'Tanh', at('c')),
      one('h', 'Mul', at('told'), at('o')),
    );
  }
  const last = ['h', 'c'].map((name) => node(name, 'Identity', [`cell${positions - 1}/${name}`], { T: FLOAT }));
  const kernel = floats('kernel', [K + units, 4 * units]);
  const weights = [kernel, floats('bias', [4 * units]), ints('axis', [1], [])];
  const one: WeightEntry = { name: 'one', shape: [], values: Float32Array.of(1) };
  return { nodes: [...nodes, ...last], weights: [...weights, one], outputs: ['h', 'c'] };
}
