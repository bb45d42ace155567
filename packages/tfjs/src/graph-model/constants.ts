/** The constants of a loaded GraphModel: tensors, and the file's integers behind them where the model still has its bytes. */
import type { io } from '@tensorflow/tfjs-core';
import { ModelFormatError } from '../errors.ts';
import { isInMemory } from '../kernels/hosts.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import { readManifest, type StoredWeight, type WeightSpec } from '../weights/manifest.ts';
import { type Constant, fileConstant, floatsOf, type StoredValues } from '../weights/source.ts';
import { stockBytes } from './artifacts.ts';
import { keptBytes } from './saving.ts';

/** What of the file's bytes the model has. Whatever is wrong with them is for the tensors to say. */
export function storedWeights(artifacts: io.ModelArtifacts): ReadonlyMap<string, StoredWeight> {
  const kept = keptBytes(artifacts);
  const specs = (artifacts.weightSpecs ?? []) as readonly WeightSpec[];
  if (kept)
    return new Map(
      specs.flatMap((spec) => {
        const bytes = kept.get(spec.name);
        return bytes ? [[spec.name, { spec, bytes: () => new Uint8Array(bytes.slice(0)) }] as const] : [];
      }),
    );
  if (!artifacts.weightData) return new Map();
  try {
    return readManifest(specs, artifacts.weightData);
  } catch (error) {
    if (error instanceof ModelFormatError) return new Map();
    throw error;
  }
}

/** Reads without blocking where the values may lie on a GPU; elsewhere each when it is needed, without a second copy of all. */
export async function constantsOf(
  weights: ReadonlyMap<string, Tensor>,
  stored: ReadonlyMap<string, StoredWeight>,
  minElements: number,
): Promise<Map<string, Constant>> {
  const onGpu = !isInMemory(requireRegistration('accelerate').tf.getBackend());
  const constants = new Map<string, Constant>();
  for (const [name, tensor] of weights) {
    const isRead = onGpu && tensor.dtype === 'float32' && tensor.size >= minElements;
    constants.set(
      name,
      constantOf(name, tensor, stored.get(name), isRead ? await tensor.data<'float32'>() : undefined),
    );
  }
  return constants;
}

export function constantOf(
  name: string,
  tensor: Tensor,
  file?: StoredWeight | undefined,
  values?: Float32Array | undefined,
): Constant {
  return {
    name,
    shape: tensor.shape,
    dtype: tensor.dtype,
    byteLength: stockBytes(tensor),
    isLoaded: true,
    stored: () => valuesOf(values ?? tensor.dataSync<'float32'>(), file),
    integers: () => tensor.dataSync<'int32'>(),
  };
}

/** The file's integers, if these floats are what tfjs made of them: somebody may have written others to the model. */
function valuesOf(values: Float32Array, file: StoredWeight | undefined): StoredValues {
  if (file?.spec.quantization && file.spec.dtype === 'float32') {
    const stored = fileConstant(file).stored();
    if (isSame(floatsOf(stored), values)) return stored;
  }
  return { kind: 'float32', values };
}

export const isSame = (a: ArrayLike<number>, b: ArrayLike<number>): boolean => {
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return a.length === b.length;
};
