/** Results that no region makes: inputs of the run, or constants of the file. */
import { INT64, jsDataType } from '../data-types.ts';
import type { Constant } from '../ir/graph.ts';
import { infoOfConstant, int64Elements } from '../ir/info.ts';
import { createOrtTensor, type OrtData, type OrtModule, type OrtTensor } from '../ort.ts';
import type { Passed } from '../plan/passed.ts';
import { tensorBytes } from '../read/tensor.ts';
import { ARRAYS } from './arrays.ts';
import { againOf } from './kv/lazy.ts';

/** A result: from an input by name, or elements that are the same in every run. */
export type PassedValue = { readonly input: string } | ({ readonly input: undefined } & ConstantValue);

interface ConstantValue {
  readonly elemType: number;
  readonly dims: readonly number[];
  readonly data: OrtData;
}

/** By name of the output. Constants are copied now: later the file may be closed. */
export function passedValues(passed: ReadonlyMap<string, Passed>): ReadonlyMap<string, PassedValue> {
  return new Map([...passed].map(([name, each]) => [name, passedValueOf(each)]));
}

const passedValueOf = (passed: Passed): PassedValue =>
  passed.kind === 'input' ? { input: passed.name } : constantValue(passed.constant);

function constantValue(constant: Constant): { readonly input: undefined } & ConstantValue {
  if (constant.kind === 'tensor') {
    const { elemType, dims } = constant.tensor;
    const bytes = new Uint8Array(tensorBytes(constant.tensor)); // a copy
    const [Elements] = ARRAYS[jsDataType(elemType)!]!;
    return { input: undefined, elemType, dims, data: new Elements(bytes.buffer) };
  }
  const { elemType, dims, data } = infoOfConstant(constant);
  const numbers = data as readonly number[];
  const elements = elemType === INT64 ? int64Elements(numbers) : Float32Array.from(numbers);
  return { input: undefined, elemType, dims: dims as readonly number[], data: elements };
}

/** Of the results that a run is asked for, those that no region makes: from the inputs as they are now. */
export function passedTensors(
  passed: ReadonlyMap<string, PassedValue>,
  fed: (name: string) => OrtTensor,
  fetches: Readonly<Record<string, unknown>>,
  ort: OrtModule,
): ReadonlyMap<string, OrtTensor> {
  const results = new Map<string, OrtTensor>();
  if (passed.size === 0) return results;
  for (const name of Object.keys(fetches)) {
    const value = passed.get(name);
    if (value) results.set(name, passedTensor(value, fed, ort));
  }
  return results;
}

/** A constant as a tensor. */
export function constantTensor(constant: Constant, ort: OrtModule): OrtTensor {
  const { elemType, dims, data } = constantValue(constant);
  return createOrtTensor(ort, jsDataType(elemType)!, data, dims);
}

/** A tensor that is the caller's. What lies in a cache stays there: the result is another tensor of the same keys. */
export function passedTensor(value: PassedValue, fed: (name: string) => OrtTensor, ort: OrtModule): OrtTensor {
  if (value.input === undefined)
    return createOrtTensor(ort, jsDataType(value.elemType)!, copyOf(value.data), value.dims);
  const tensor = fed(value.input);
  return againOf(ort, tensor) ?? createOrtTensor(ort, tensor.type, copyOf(tensor.data), tensor.dims);
}

/** Strings are an Array: both have slice. */
const copyOf = (data: OrtData): OrtData => (data as Uint8Array).slice();
