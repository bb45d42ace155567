/** Makes models faster that are already loaded. */
import type { GraphModel } from '@tensorflow/tfjs-converter';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { prepareBackend } from './fallback.ts';
import { accelerateGraphModel } from './graph-model/accelerate.ts';
import { type ModelOptions, resolveModelOptions } from './graph-model/options.ts';
import { accelerateLayersModel } from './layers-model/accelerate.ts';
import type { ModelReport } from './report.ts';
import { requireRegistration } from './state.ts';

export interface AccelerateOptions extends ModelOptions {
  /**
   * Keep the float weights in JavaScript for `restore()`. Default false: then `restore()` of a GraphModel loads them again
   * from where the model came from, and `restore()` of a LayersModel, which does not know where, throws.
   */
  readonly restorable?: boolean | undefined;
}

export interface Accelerated {
  readonly report: ModelReport;
  /**
   * Undoes this call, and all later ones on the same model: it is again what it was before. Packed weights are disposed of.
   * Calling it twice is fine.
   */
  restore(): Promise<void>;
}

/**
 * Quantizes the weights of a loaded model in place. If a GraphModel still has the integers of its file, these are used; floats on
 * a 256-level grid get their integers back; others are quantized. Matrix multiplications and look-ups then run on the integers, and
 * the file's bytes that GraphModel keeps are freed. Executions that are running keep the weights that they began with.
 *
 * `loadGraphModel` needs less memory at its peak: a heap that has grown does not shrink.
 *
 * @param model is changed, and stays yours
 * @throws `TypeError` if it is not a loaded model, `DisposedError` if it was disposed of, `ModelFormatError` if its graph
 * contradicts itself, `UnsupportedError` if it belongs to another copy of tfjs than MSD knows; the model is unchanged then
 * @example
 * ```ts
 * const { report, restore } = await accelerate(model);
 * console.log(formatReport(report));
 * ```
 */
export async function accelerate(
  model: GraphModel | LayersModel,
  options: AccelerateOptions = {},
): Promise<Accelerated> {
  const resolved = await resolveModelOptions(options, 'accelerate', ['restorable']);
  await prepareBackend(requireRegistration('accelerate').tf);
  const restorable = options.restorable ?? false;
  const { report, restore } = await inTurn(model, () =>
    isLayersModel(model)
      ? accelerateLayersModel(model, resolved, restorable)
      : accelerateGraphModel(model, resolved, restorable),
  );
  return { report, restore: () => inTurn(model, restore) };
}

const turns = /* @__PURE__ */ new WeakMap<object, Promise<unknown>>();

/** Changes of one model wait for each other. */
function inTurn<T>(model: object, run: () => Promise<T>): Promise<T> {
  const key = Object(model) as object; // whatever it is: who runs will say what is wrong
  const result = (turns.get(key) ?? Promise.resolve()).then(run, run);
  turns.set(key, result);
  return result;
}

export const isLayersModel = (model: unknown): model is LayersModel =>
  Array.isArray((model as Partial<LayersModel> | null)?.layers) && typeof (model as LayersModel).predict === 'function';
