/** Lists of tensors: sequences that a loop reads from, position by position, and those that it writes. */
import type { Constants } from '../../weights/source.ts';
import { rootOf } from '../recognise.ts';
import { type NodeDef, numberAttr, parseInput, type Scope } from '../topology.ts';
import { constantAt, integerOf, type Loop, outerInput, refuse } from './loop.ts';

type Starts = ReadonlyMap<number, number>;

/** The node behind an input, through identities. */
export function sourceOf(scope: Scope, input: string | undefined): NodeDef | undefined {
  let node = input === undefined ? undefined : scope.nodes.get(parseInput(input).node);
  for (let depth = 0; depth < 64 && node?.op === 'Identity'; depth++)
    node = scope.nodes.get(parseInput(node.input?.[0] ?? '').node);
  return node;
}

/** Is it the number of the position, from 0? */
export function isPosition(loop: Loop, input: string | undefined, starts: Starts): boolean {
  const found = input === undefined ? undefined : loop.find(input);
  return found?.kind === 'variable' && starts.get(found.index) === 0;
}

/** 0, 1, 2, …: which rows of a tensor go where in an array. */
function isRange(scope: Scope, input: string | undefined, constants: Constants): boolean {
  const node = sourceOf(scope, input);
  if (node?.op === 'Const') {
    const constant = constants.get(node.name);
    return constant?.dtype === 'int32' && constant.integers().every((value, i) => value === i);
  }
  const [start, , delta] = node?.op === 'Range' ? (node.input ?? []) : [];
  const number = (of: string | undefined) => integerOf(constants.get((of !== undefined && rootOf(scope, of)) || ''));
  return number(start) === 0 && number(delta) === 1;
}

/**
 * What a node reads at a position: a row of the tensor of that name around the loop.
 *
 * @returns `undefined` if it reads no sequence
 */
export function sequenceOf(
  loop: Loop,
  node: NodeDef,
  inputs: readonly string[],
  constants: Constants,
  starts: Starts,
): { readonly input: string; readonly isMask: boolean } | undefined {
  const { outer } = loop;
  const around = (input: string | undefined) => (input === undefined ? undefined : outerInput(loop, loop.find(input)));
  const isMask = (attr: string) => [10, '10', 'DT_BOOL'].includes((node.attr?.[attr]?.type ?? '') as string);
  switch (node.op) {
    case 'TensorListGetItem': {
      const list = sourceOf(outer, around(inputs[0]));
      if (list?.op !== 'TensorListFromTensor') return refuse('a list that is not made of one tensor');
      if (!isPosition(loop, inputs[1], starts)) return refuse('positions of a list in another order');
      return { input: list.input?.[0] ?? refuse('a list of nothing'), isMask: isMask('element_dtype') };
    }
    case 'TensorArrayReadV3': {
      const scattered = sourceOf(outer, around(inputs[2]));
      if (scattered?.op !== 'TensorArrayScatterV3' || !isRange(outer, scattered.input?.[1], constants))
        return refuse('an array that is not made of one tensor');
      if (!isPosition(loop, inputs[1], starts)) return refuse('positions of an array in another order');
      return { input: scattered.input?.[2] ?? refuse('an array of nothing'), isMask: isMask('dtype') };
    }
    case 'GatherV2':
    case 'Gather': {
      const table = around(inputs[0]);
      if (table === undefined || !isPosition(loop, inputs[1], starts)) return undefined;
      const axis = node.op === 'Gather' ? 0 : integerOf(constantAt(loop, loop.find(inputs[2] ?? ''), constants));
      if (axis !== 0 || numberAttr(node, 'batch_dims')) return refuse('rows of a sequence along another axis');
      return { input: table, isMask: isMask('Tparams') };
    }
    default:
      return undefined;
  }
}

export interface ListWrite {
  readonly value: string;
  /** Every position writes the first one. */
  readonly isLast: boolean;
}

/** What a variable that is a list, or the flow of an array, gets at each position; `undefined` if it is none. */
export function writeOf(loop: Loop, index: number, constants: Constants, starts: Starts): ListWrite | undefined {
  const { initial, next } = loop.variables[index]!;
  const found = loop.find(next);
  if (found.kind !== 'node') return undefined;
  const { op, input = [] } = found.node;
  const isItself = (own: string | undefined) => {
    const list = own === undefined ? undefined : loop.find(own);
    return list?.kind === 'variable' && list.index === index;
  };
  const place = (own: string | undefined): boolean => {
    if (isPosition(loop, own, starts)) return false;
    const first = integerOf(constantAt(loop, loop.find(own ?? ''), constants));
    return first === 0 ? true : refuse('a list that is written in another order');
  };
  const source = sourceOf(loop.outer, initial);
  if (op === 'TensorListSetItem') {
    if (!isItself(input[0]) || source?.op !== 'TensorListReserve')
      return refuse('a list that was begun before the loop');
    return { value: input[2] ?? refuse('a list that gets nothing'), isLast: place(input[1]) };
  }
  if (op === 'TensorArrayWriteV3') {
    const isNew = source?.op === 'TensorArrayV3' && parseInput(initial).index === 1;
    if (!isItself(input[3]) || !isNew) return refuse('an array that was begun before the loop');
    return { value: input[2] ?? refuse('a list that gets nothing'), isLast: place(input[1]) };
  }
  return undefined;
}

/** Names of the nodes that read a list as one tensor, where nobody reads it otherwise. */
export function readersOfList(scope: Scope, from: NodeDef, output: number, constants: Constants): NodeDef[] {
  const reads = (node: NodeDef, at: number) => {
    const own = parseInput(node.input?.[at] ?? '');
    return own.node === from.name && own.index === output;
  };
  const readers = (scope.consumers.get(from.name) ?? []).filter(({ input = [] }) =>
    input.some((own) => !own.startsWith('^') && parseInput(own).node === from.name && parseInput(own).index === output),
  );
  return readers.flatMap((node) => {
    if (node.op === 'TensorListStack' && reads(node, 0)) return [node];
    if (node.op === 'TensorArrayGatherV3' && reads(node, 2)) {
      if (!isRange(scope, node.input?.[1], constants)) refuse('an array that is read in another order');
      return [node];
    }
    // Its result is a Range's limit, which goes with the Gather.
    if (node.op === 'TensorArraySizeV3' && reads(node, 1)) {
      const ranges = scope.consumers.get(node.name) ?? [];
      const isGone = ranges.every(
        (range) =>
          range.op === 'Range' &&
          (scope.consumers.get(range.name) ?? []).every(({ op }) => op === 'TensorArrayGatherV3'),
      );
      return isGone ? [] : refuse('the size of an array');
    }
    return refuse(`a list that ${node.op} reads`);
  });
}
