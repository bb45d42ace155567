/** Runs ops on a GPU in tests. */

import type { GpuBinding } from '../src/backends/webgpu/api.ts';
import type { WebGpuBackend } from '../src/backends/webgpu/index.ts';
import { byteLength, elementCount, type OpSpec, type Tensor, tensorArrays } from '../src/ops/op.ts';

/** Outputs as the GPU gives them. @param inPlace output and input that lie in one place */
export async function gpuOp<O>(
  backend: WebGpuBackend,
  spec: OpSpec<O>,
  op: O,
  inputs: readonly (Tensor | undefined)[],
  inPlace?: { readonly output: number; readonly input: number },
): Promise<Tensor[]> {
  const place = (data: Tensor['data']) => {
    const handle = backend.alloc(Math.max(4, data.byteLength), 'test');
    if (data.byteLength > 0) backend.write(handle, data);
    return handle;
  };
  const given = inputs.map((input) => input && place(input.data));
  const types = spec.infer(op, inputs);
  const results = types.map((type, i) =>
    inPlace?.output === i ? given[inPlace.input]! : backend.alloc(Math.max(4, byteLength(type)), 'test'),
  );
  const exact = (handle: GpuBinding | undefined, type: Tensor | (typeof types)[number] | undefined) =>
    handle && type && backend.part(handle, 0, byteLength(type));
  const operands = [...given.map((h, i) => exact(h, inputs[i])), ...results.map((h, i) => exact(h, types[i]))];
  backend.run(backend.bind({ kind: 'op', spec: spec as OpSpec<unknown>, op, inputs }, operands));
  const outputs = await Promise.all(
    types.map(async (type, i) => {
      const data = new tensorArrays[type.dtype](elementCount(type.dims));
      await backend.read(operands[inputs.length + i]!, data);
      return { ...type, data };
    }),
  );
  for (const handle of new Set([...given, ...results])) if (handle) backend.free(handle);
  return outputs;
}
