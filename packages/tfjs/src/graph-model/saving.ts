/**
 * What a GraphModel saves. Stock keeps the file's bytes for that; here the tensors hold them, and are read when the model is saved,
 * without blocking. Handlers get plain artifacts that they may change.
 */
import { UnsupportedError } from '@msd/core';
import type { io } from '@tensorflow/tfjs-core';
import { DisposedError } from '../errors.ts';
import { valuesInMemory } from '../kernels/hosts.ts';
import { requireRegistration } from '../state.ts';
import type { Tensor } from '../tf.ts';
import type { WeightSpec } from '../weights/manifest.ts';
import type { ModelInternals } from './model.ts';

/** Weights of a model, by name in the order of its file. */
interface Source {
  readonly specs: readonly WeightSpec[];
  /** Bytes that no tensor gives back as they were: strings, complex numbers, codes of weights that tfjs decoded. */
  readonly kept: ReadonlyMap<string, ArrayBuffer>;
  readonly model: ModelInternals;
}

/** Of artifacts whose bytes lie in tensors. */
const sources = /* @__PURE__ */ new WeakMap<object, Source>();

/** Bytes of these artifacts that lie in no tensor. */
export const keptBytes = (artifacts: object): ReadonlyMap<string, ArrayBuffer> | undefined =>
  sources.get(artifacts)?.kept;

/**
 * The artifacts with another graph and its weights' specs, without bytes: `model.save` reads them from the tensors. Whoever looks at
 * `weightData` itself gets it where tensors are in memory, and may assign another.
 */
export function artifactsInTensors(
  artifacts: io.ModelArtifacts,
  modelTopology: io.ModelArtifacts['modelTopology'],
  source: Source,
): io.ModelArtifacts {
  const own: io.ModelArtifacts = withoutBytes(artifacts, {
    configurable: true,
    enumerable: true,
    get: () => joined(source, bytesNow),
    set(data: io.WeightData) {
      sources.delete(own);
      Object.defineProperty(own, 'weightData', { ...PLAIN, value: data });
    },
  });
  Object.assign(own, { modelTopology, weightSpecs: source.specs });
  sources.set(own, source);
  savePlainly(source.model);
  return own;
}

const PLAIN = { configurable: true, enumerable: true, writable: true };

/** A copy of the artifacts that asks nobody for bytes. */
function withoutBytes(artifacts: io.ModelArtifacts, weightData: PropertyDescriptor): io.ModelArtifacts {
  return Object.defineProperties({}, { ...Object.getOwnPropertyDescriptors(artifacts), weightData });
}

/** The model's `save` reads its tensors first, then does what the stock one does. */
function savePlainly(model: ModelInternals): void {
  if (Object.hasOwn(model, 'save')) return;
  const stock = model.save;
  const save: ModelInternals['save'] = async (target, config) => {
    const { artifacts } = model;
    const source = sources.get(artifacts);
    if (!source) return stock.call(model, target, config);
    const data = new Map<string, Uint8Array>();
    for (const { name } of source.specs)
      if (!source.kept.has(name)) data.set(name, bytesOf(await tensorOf(source, name).data()));
    const weightData = joined(source, (_, name) => data.get(name)!);
    const plain = withoutBytes(artifacts, { ...PLAIN, value: weightData });
    return stock.call(Object.create(model, { artifacts: { ...PLAIN, value: plain } }), target, config);
  };
  Object.defineProperty(model, 'save', { ...PLAIN, enumerable: false, value: save });
}

function joined(source: Source, read: (source: Source, name: string) => Uint8Array): ArrayBuffer {
  const parts = source.specs.map(({ name }) => {
    const kept = source.kept.get(name);
    return kept ? new Uint8Array(kept) : read(source, name);
  });
  const out = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.byteLength;
  }
  return out.buffer;
}

function tensorOf({ model }: Source, name: string): Tensor {
  const tensor = model.executor.weightMap[name]?.[0];
  if (!tensor || tensor.isDisposed)
    throw new DisposedError('save: model has been disposed of, and its weights with it.');
  return tensor;
}

function bytesNow(source: Source, name: string): Uint8Array {
  const values = valuesInMemory(requireRegistration('artifacts').tf, tensorOf(source, name));
  if (!values)
    throw new UnsupportedError(
      'artifacts: weightData, the weights are on the GPU, from where nothing is read without waiting. Await model.save(…), whose handler gets them.',
    );
  return bytesOf(values);
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
