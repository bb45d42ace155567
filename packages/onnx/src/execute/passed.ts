/** Results that no node makes: graph outputs that are graph inputs, or constants of the file. */
import { BOOL, FLOAT32, INT8, INT32, INT64, jsDataType, UINT8 } from '../data-types.ts';
import type { Graph } from '../ir/graph.ts';
import { infoOfConstant, int64Elements } from '../ir/info.ts';
import { createOrtTensor, type OrtModule, type OrtTensor } from '../ort.ts';
import { tensorBytes } from '../read/tensor.ts';

/** Makes an output from what the run was fed. Everything in it is the caller's. */
export type Passed = (feeds: Readonly<Record<string, OrtTensor>>) => OrtTensor;

/** A typed array's constructor. */
type Elements = new (buffer: ArrayBuffer) => ArrayBufferView;

const ARRAYS: ReadonlyMap<number, Elements> = /* @__PURE__ */ new Map<number, Elements>([
  [FLOAT32, Float32Array],
  [UINT8, Uint8Array],
  [INT8, Int8Array],
  [INT32, Int32Array],
  [INT64, BigInt64Array],
  [BOOL, Uint8Array],
]);

/** By name, the outputs that no node makes. Constants are copied now: later the file may be closed. */
export function passedOutputs(ort: OrtModule, { constants, outputs, producers }: Graph): Map<string, Passed> {
  const passed = new Map<string, Passed>();
  for (const { name } of outputs) {
    if (producers.has(name)) continue;
    const constant = constants.get(name);
    if (!constant) {
      passed.set(name, (feeds) => copyOf(ort, feeds[name]!));
      continue;
    }
    const { elemType, dims, data } = infoOfConstant(constant);
    const type = jsDataType(elemType)!;
    const bytes =
      constant.kind === 'tensor'
        ? new Uint8Array(tensorBytes(constant.tensor)).buffer
        : (elemType === INT64 ? int64Elements(data as number[]) : Float32Array.from(data as number[])).buffer;
    const kept = new (ARRAYS.get(elemType)!)(bytes as ArrayBuffer);
    const tensor = createOrtTensor(ort, type, kept, dims as number[]);
    passed.set(name, () => copyOf(ort, tensor));
  }
  return passed;
}

function copyOf(ort: OrtModule, { type, data, dims }: OrtTensor): OrtTensor {
  return createOrtTensor(ort, type, (data as Uint8Array).slice(), dims);
}
