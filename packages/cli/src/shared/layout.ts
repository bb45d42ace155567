/** How Transformers.js names a model's files: `onnx/MODULE + the ending of a dtype + .onnx`. */

/** File name endings by Transformers.js' `dtype`. */
export const DTYPE_ENDINGS: Readonly<Record<string, string>> = {
  fp32: '',
  fp16: '_fp16',
  int8: '_int8',
  uint8: '_uint8',
  q8: '_quantized',
  q4: '_q4',
  q4f16: '_q4f16',
  q2: '_q2',
  q2f16: '_q2f16',
  q1: '_q1',
  q1f16: '_q1f16',
  bnb4: '_bnb4',
};

/** Where several files are there and nobody says which: what MSD gains most from comes first. */
export const PREFERRED_DTYPES: readonly string[] = ['q4', 'q4f16', 'q8', 'int8', 'uint8', 'bnb4', 'q2', 'fp32', 'fp16'];

/** One ONNX file of a model. */
export interface ModelFile {
  /** What Transformers.js calls the session: model, encoder_model, decoder_model_merged, … */
  readonly module: string;
  readonly dtype: string;
  /** Of the folder or repository: `onnx/model_q4.onnx`. */
  readonly name: string;
  /** A path or a URL: what `InferenceSession.create` takes. */
  readonly location: string;
}

/** What a file's name says; a name without an ending is `fp32`. `undefined` for files that are no ONNX models. */
export function parseFileName(name: string): Pick<ModelFile, 'module' | 'dtype'> | undefined {
  const base = /([^/\\]+)\.onnx$/i.exec(name)?.[1];
  if (base === undefined) return undefined;
  const known = Object.entries(DTYPE_ENDINGS).find(([, ending]) => ending !== '' && base.endsWith(ending));
  if (!known || base === known[1]) return { module: base, dtype: 'fp32' };
  return { module: base.slice(0, -known[1].length), dtype: known[0] };
}
