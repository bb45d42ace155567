/** Quantizes a model's float weights: the library behind `msd quantize`. */
import { Edit } from '../edit/edit.ts';
import { MOST_INLINE_BYTES, ModelWriter, type Written } from '../edit/model-writer.ts';
import { type OpenModel, opsetOf } from '../edit/open-model.ts';
import type { Undo } from '../shared/interrupt.ts';
import type { OutputFiles } from '../shared/output-files.ts';
import { choiceText, type FormatName } from './form.ts';
import { type FloatWeights, type Loss, quantizeMatrix } from './matrix.ts';
import type { Moments } from './moments.ts';
import type { KeptGroup, Plan, PlannedGroup } from './plan.ts';
import { addTensors, spellConvolution, spellProduct, spellRows } from './spell.ts';

export interface QuantizeOptions {
  readonly isSearched: boolean;
  /** Tensors beside the model, even if they would fit into it. */
  readonly isExternal: boolean;
  /** What the input of a product is like. */
  readonly momentsOf?: ((group: PlannedGroup) => Promise<Moments | undefined>) | undefined;
  readonly onWeights: (done: number, total: number, name: string) => void;
  readonly onBytes: (done: number, total: number) => void;
}

/** What became of a matrix. */
export interface MatrixResult {
  readonly name: string;
  readonly nodes: readonly string[];
  readonly N: number;
  readonly K: number;
  readonly format: FormatName;
  readonly form: string;
  readonly byteLength: number;
  /** Signal to noise of the product's output, in dB, for inputs as they were measured; else for inputs that are all alike. */
  readonly sqnr: number;
  /** The same if weights had been rounded to nearest in this form. */
  readonly sqnrByRounding: number;
  /** Rows of activations that were looked at. */
  readonly calibratedRows: number;
}

export interface QuantizeResult {
  readonly matrices: readonly MatrixResult[];
  readonly kept: readonly KeptGroup[];
  readonly written: Written;
}

/** Bytes that the result will have, about: what goes, and what comes instead. */
export const expectedBytes = (model: OpenModel, plan: Plan): number =>
  Math.max(0, model.fileBytes - plan.floatBytes) + plan.byteLength;

/** Whether tensors go into a file of their own: because they lie in one now, or because they do not fit. */
export const isExternalBetter = (model: OpenModel, plan: Plan): boolean =>
  model.record.files.locations.size > 0 || expectedBytes(model, plan) > MOST_INLINE_BYTES;

/** @param files where the result goes; the caller commits them */
export async function quantizeModel(
  model: OpenModel,
  plan: Plan,
  path: string,
  files: OutputFiles,
  undo: Undo,
  options: QuantizeOptions,
): Promise<QuantizeResult> {
  const opset = opsetOf(model);
  const edit = new Edit(model);
  const writer = new ModelWriter(files, path, options.isExternal, undo);
  const matrices: MatrixResult[] = [];
  const kept = [...plan.kept];
  let before = 0;
  for (const group of plan.groups) {
    const { matrix, shape, targets } = group;
    const { held, N, K } = matrix;
    const moments = await options.momentsOf?.(group);
    options.onWeights(before, plan.weights, held.name);
    let done = before;
    const codes = await quantizeMatrix(
      weightsOf(group),
      shape,
      { isSearched: options.isSearched, moments },
      writer.weights,
      (weights) => {
        undo.check();
        options.onWeights((done += weights), plan.weights, held.name);
      },
    );
    before += N * K;
    if (typeof codes === 'string') {
      kept.push({ name: held.name, reason: codes });
      continue;
    }
    const isTable = targets.every(({ kind }) => kind === 'Gather');
    const spelt = addTensors(edit, { scope: held.scope, name: held.name, N, K, isTable }, shape, codes);
    for (const target of targets)
      if (target.kind === 'Conv') spellConvolution(edit, target, spelt, opset);
      else if (target.kind === 'Gather') spellRows(edit, target, spelt);
      else spellProduct(edit, target, spelt);
    matrices.push({
      name: held.name,
      nodes: targets.map(({ node }) => node.name),
      N,
      K,
      format: shape.format,
      form: choiceText(shape),
      byteLength: [codes.data, codes.scales, codes.zeros].reduce((sum, range) => sum + (range?.length ?? 0), 0),
      ...ratios(codes),
      calibratedRows: moments?.rows ?? 0,
    });
  }
  edit.dropUnused();
  const written = await writer.save(edit, options.onBytes);
  return { matrices, kept, written };
}

export function weightsOf({ matrix, targets }: PlannedGroup): FloatWeights {
  const [{ kind, node }] = targets as [PlannedGroup['targets'][number]];
  const { held, N, K, isTransposed } = matrix;
  const alpha = kind === 'Gemm' ? node.attributes.get('alpha') : undefined;
  const order = kind === 'Conv' ? tapOrder(held.tensor.dims) : undefined;
  return { N, K, tensor: held.tensor, isTransposed, times: alpha?.kind === 'float' ? alpha.value : 1, order };
}

/** Of weights [N, channels, taps] with all channels of a tap side by side, which is how products of windows want them. */
function tapOrder([, channels = 0, ...kernel]: readonly number[]): Int32Array | undefined {
  const taps = kernel.reduce((product, size) => product * size, 1);
  if (taps === 1) return undefined;
  return Int32Array.from({ length: channels * taps }, (_, k) => (k % channels) * taps + Math.floor(k / channels));
}

function ratios({ signal, lost, lostByRounding }: Loss): Pick<MatrixResult, 'sqnr' | 'sqnrByRounding'> {
  const dB = (noise: number): number => 10 * Math.log10(signal / noise);
  return { sqnr: dB(lost), sqnrByRounding: dB(lostByRounding) };
}
