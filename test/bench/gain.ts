/** The picture at the top of the README: what a whole model gains, drawn from the recorded results of `npm run bench -- decoder`. */
import { readFileSync } from 'node:fs';
import { type Pair, pairChart } from './svg.ts';

/** The model that the picture shows: its results are the newest under this name. */
export const GAIN_RESULTS = new URL(
  './results/2026-11-29/decoder-qwen2.5-0.5b-L24-H896-float-1t.json',
  import.meta.url,
);
export const GAIN_PICTURE = new URL('../../docs/gain.svg', import.meta.url);

interface Timed {
  readonly median: number;
}

/** The fields of a decoder's result that are drawn. Times in milliseconds. */
interface DecoderResult {
  readonly date: string;
  readonly threads: number;
  readonly shape: { readonly layers: number };
  readonly machine: { readonly cpu: string };
  readonly versions: { readonly node: string; readonly ort: string };
  readonly phases: readonly {
    readonly rows: number;
    readonly past: number;
    readonly ms: { readonly ort?: Timed; readonly msd: Timed };
  }[];
  readonly loads: readonly { readonly by: string; readonly ms: Timed; readonly wasmBytesAfterToken: number }[];
}

/** The newest recorded result. */
export const gainResult = (): DecoderResult => JSON.parse(readFileSync(GAIN_RESULTS, 'utf8')) as DecoderResult;

/** The picture of one result: speed, memory and loading, plain onnxruntime-web beside MSD. */
export function gainPicture(result: DecoderResult): string {
  const phase = (rows: number) => {
    const found = result.phases.find((other) => other.rows === rows && other.ms.ort);
    if (!found?.ms.ort) throw new Error(`gain: the result has no phase of ${rows} rows with both engines.`);
    return { past: found.past, ort: found.ms.ort.median, msd: found.ms.msd.median };
  };
  const load = (by: string) => {
    const found = result.loads.find((other) => other.by === by);
    if (!found) throw new Error(`gain: the result has no load by ${by}.`);
    return found;
  };
  const [token, prompt, plain, msd] = [phase(1), phase(128), load('ort'), load('msd')];
  const pair = (title: string, unit: string, ratio: string, ort: number, mine: number): Pair => ({
    title,
    unit,
    ratio,
    bars: [
      { engine: 'ort', value: ort },
      { engine: 'msd', value: mine },
    ],
  });
  const times = (ratio: number): string => `${ratio < 10 ? ratio.toFixed(1) : ratio.toFixed(0)}×`;
  const { cpu } = result.machine;
  return pairChart(
    'A 4-bit language model of 0.5 billion parameters in WebAssembly',
    `Shape of Qwen2.5-0.5B, ${result.shape.layers} layers, random weights; ${result.threads} thread of ${cpu}, Node ${result.versions.node}, onnxruntime-web ${result.versions.ort}, ${result.date.slice(0, 10)}`,
    [
      pair('Writing', 'tokens/s', times(token.ort / token.msd), 1000 / token.ort, 1000 / token.msd),
      pair(
        'Reading a prompt of 128 tokens',
        'tokens/s',
        times(prompt.ort / prompt.msd),
        128e3 / prompt.ort,
        128e3 / prompt.msd,
      ),
      pair(
        'Memory of WebAssembly, after a token',
        'MB',
        `1/${(plain.wasmBytesAfterToken / msd.wasmBytesAfterToken).toFixed(1)}`,
        plain.wasmBytesAfterToken / 1e6,
        msd.wasmBytesAfterToken / 1e6,
      ),
      pair(
        'Loading from a file',
        's',
        times(plain.ms.median / msd.ms.median),
        plain.ms.median / 1e3,
        msd.ms.median / 1e3,
      ),
    ],
  );
}
