/**
 * The attributes of a Scan: how many of its values are carried, and along which axes it slices inputs and stacks
 * outputs.
 */
import type { GraphNode } from '../../ir/graph.ts';
import { NodeView } from '../../ops/operator.ts';
import type { GraphRecord } from '../../read/model.ts';

export interface Scanned {
  /** Values that go from pass to pass. */
  readonly states: number;
  readonly inputAxes: readonly number[];
  readonly outputAxes: readonly number[];
  /** From the last one on. */
  readonly isInputReversed: readonly boolean[];
  readonly isOutputReversed: readonly boolean[];
}

/** @returns a reason if it cannot be planned */
export function scannedOf(node: GraphNode, body: GraphRecord, opset: number): Scanned | string {
  if (opset < 9) return `Scan of opset ${opset}, which has batches`;
  const view = new NodeView(node, new Map([['', opset]]));
  const inputs = view.int('num_scan_inputs', 0);
  const states = node.inputs.length - inputs;
  const outputs = body.outputs.length - states;
  const fits =
    inputs > 0 &&
    states >= 0 &&
    outputs >= 0 &&
    body.inputs.length === node.inputs.length &&
    node.outputs.length <= body.outputs.length &&
    !node.inputs.includes('');
  if (!fits) return 'its body does not fit its inputs and outputs';
  const list = (name: string, count: number): readonly number[] | undefined => {
    const given = view.ints(name) ?? new Array<number>(count).fill(0);
    return given.length === count ? given : undefined;
  };
  const lists = [
    list('scan_input_axes', inputs),
    list('scan_output_axes', outputs),
    list('scan_input_directions', inputs),
    list('scan_output_directions', outputs),
  ];
  if (lists.includes(undefined)) return 'as many axes and directions as it has inputs and outputs are not given';
  const [inputAxes, outputAxes, inputDirections, outputDirections] = lists as readonly (readonly number[])[];
  const isReversed = (directions: readonly number[]): boolean[] => directions.map((direction) => direction === 1);
  return {
    states,
    inputAxes: inputAxes!,
    outputAxes: outputAxes!,
    isInputReversed: isReversed(inputDirections!),
    isOutputReversed: isReversed(outputDirections!),
  };
}
