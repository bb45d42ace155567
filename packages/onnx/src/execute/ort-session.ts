/** Sessions of ONNX Runtime's own. */
import {
  callable,
  createOrtTensor,
  isNative,
  type OrtFeeds,
  type OrtModule,
  type OrtSession,
  type OrtTensor,
} from '../ort.ts';
import { turnsOf } from '../turns.ts';

/** Creates a session of the module. */
export async function createOrtSession(
  ort: OrtModule,
  model: string | Uint8Array,
  options: object,
): Promise<OrtSession> {
  const turns = turnsOf(ort.registerBackend);
  // ONNX Runtime writes defaults into the options of a session, and of a run.
  const session = await turns.take(() => callable(ort).InferenceSession.create(model, { ...options }));
  return {
    inputNames: session.inputNames,
    outputNames: session.outputNames,
    inputMetadata: session.inputMetadata,
    outputMetadata: session.outputMetadata,
    run: (feeds, fetches, runOptions) =>
      turns.take(() => session.run(readableFeeds(ort, feeds()), fetches, { ...runOptions })),
    release: () => turns.take(() => session.release()),
    startProfiling: () => session.startProfiling(),
    endProfiling: () => session.endProfiling(),
  };
}

/** Native code reads float16 as bits alone: an engine's own Float16Array, which the module's tensors hold, is no array to it. */
function readableFeeds(ort: OrtModule, feeds: OrtFeeds): OrtFeeds {
  if (!isNative(ort)) return feeds;
  const readable: Record<string, OrtTensor> = Object.create(null); // any name, also __proto__
  for (const [name, tensor] of Object.entries(feeds)) readable[name] = withBits(ort, tensor);
  return readable;
}

function withBits(ort: OrtModule, tensor: OrtTensor): OrtTensor {
  if (tensor.type !== 'float16' || tensor.location !== 'cpu' || tensor.data instanceof Uint16Array) return tensor;
  const { buffer, byteOffset, length } = tensor.data as unknown as Uint16Array;
  const own = createOrtTensor(ort, 'float16', tensor.data, tensor.dims);
  // Where the class keeps its array: its constructor would make a Float16Array of it again.
  return Object.assign(own, { cpuData: new Uint16Array(buffer, byteOffset, length) });
}
