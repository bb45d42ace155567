/** How large inputs are whose sizes the file leaves open: by the names that exporters give to dimensions. */
import type { InspectedValue, SizeOf } from '@msd/onnx/inspect';

/** A run. */
export interface RunSizes {
  /** Tokens of the run itself. */
  readonly tokens: number;
  /** Tokens that earlier runs left in the cache. */
  readonly past: number;
  /** Positions of an encoder that a decoder looks at. */
  readonly encoder: number;
  /** Pixels of a side of an image. */
  readonly image: number;
  /** What the user says, by the name of a dimension. */
  readonly named?: Readonly<Record<string, number>>;
}

/** Samples of a second of speech, and what spectrograms of it are made of. */
const AUDIO_SAMPLES = 16_000;
const MEL_BINS = 80;

/** True for an input that holds what earlier runs left. */
export function isPast(input: string): boolean {
  return /^(past|cache)/i.test(input);
}

/** Does the file fix this size? onnxruntime-web says 2³² − 1 where one is open and has no name. */
export const isFixed = (size: number | string): size is number =>
  typeof size === 'number' && size >= 0 && size < 2 ** 32 - 1;

/** Looks decoding at the whole input: an image, or a spectrogram? */
const isImage = (input: string): boolean => /pixel|image/i.test(input);

/** The sizes of a model's inputs. */
export function sizesOf(inputs: readonly InspectedValue[], run: RunSizes): SizeOf {
  const hasPast = inputs.some(({ name }) => isPast(name));
  const ranks = new Map(inputs.map(({ name, dims }) => [name, dims?.length ?? 0]));
  return (input, axis, name) => {
    const { tokens, past, encoder, image, named = {} } = run;
    if (named[name] !== undefined) return named[name];
    if (/batch|num_images/i.test(name)) return 1;
    if (isPast(input)) return /encoder/.test(input) && past > 0 ? encoder : past;
    if (/past.*\+|total/i.test(name)) return past + tokens;
    if (/^past/i.test(name)) return past;
    if (/encoder/.test(name) || /^encoder/.test(input)) return axis === 0 ? 1 : encoder;
    if (/channel/i.test(name)) return 3;
    if (/height|width/i.test(name)) return image;
    if (/mel|feature/i.test(name)) return MEL_BINS;
    const rank = ranks.get(input)!;
    if ((isImage(input) || (rank === 4 && !hasPast)) && axis >= rank - 2) return image;
    if (rank === 4 && axis === 1) return 3;
    if (axis === 0) return 1;
    if (/mask/.test(input) && hasPast) return past + tokens;
    return input === 'input_values' ? AUDIO_SAMPLES : tokens;
  };
}
