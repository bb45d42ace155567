/** Accelerates models that are loaded already. */
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
   * Keep the float weights in JavaScript for `restore()`. Default false: `restore()` of a GraphModel then loads them again
   * from where the model came from, and that of a LayersModel, which does not know where, throws.
   */
  readonly restorable?: boolean | undefined;
}

export interface Accelerated {
  readonly report: ModelReport;
  /**
   * Makes the model what it was before this call; what later calls did is undone with it. Packed weights are disposed of. Twice is
   * fine.
   */
  restore(): Promise<void>;
}

/**
 * Quantizes the weights of a loaded model in place: the file's integers are taken where a GraphModel still has them, floats that lie on
 * a 256-level grid get theirs back, others are quantized; products and look-ups run on them; the file's bytes that GraphModel keeps
 * are dropped. Executions that are running end with the weights that they began with.
 *
 * For the smallest peak load with `loadGraphModel` instead: a heap that has grown does not shrink.
 *
 * @param model stays the caller's, and the same object
 * @throws `TypeError` for what is no loaded model, `DisposedError` for one that is gone, `ModelFormatError` if its graph
 * contradicts itself, `UnsupportedError` if it is of another copy of tfjs than MSD knows; the model is unchanged then
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

/** What changes a model begins when what changed it before has ended. */
function inTurn<T>(model: object, run: () => Promise<T>): Promise<T> {
  const key = Object(model) as object; // whatever it is: who runs will say what is wrong
  const result = (turns.get(key) ?? Promise.resolve()).then(run, run);
  turns.set(key, result);
  return result;
}

export const isLayersModel = (model: unknown): model is LayersModel =>
  Array.isArray((model as Partial<LayersModel> | null)?.layers) && typeof (model as LayersModel).predict === 'function';
