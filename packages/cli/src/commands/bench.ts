/** `msd bench`: what this machine can do, and what MSD and onnxruntime-web make of it. */
import { measurePeaks } from '@msd/core/peaks';
import { type Command, InvalidArgumentError } from 'commander';
import { type LayerResult, measureLayers } from '../bench/layers.ts';
import { DECODE_ROWS, type LayerShape, LLM_LAYERS, PREFILL_ROWS } from '../bench/shapes.ts';
import { layerTable } from '../bench/table.ts';
import { runtime } from '../run/session.ts';
import { machineText, thisMachine } from '../shared/machine.ts';
import { threeDigits } from '../shared/numbers.ts';
import { atLeastOne } from '../shared/options.ts';
import { type Task, task } from '../shared/task.ts';

interface Options {
  readonly shape?: readonly LayerShape[];
  readonly rows?: readonly number[];
  readonly rounds: number;
  readonly peaks?: boolean;
}

export function define(command: Command): void {
  command
    .option('--shape <KxN>', 'a layer of your own: K inputs, N outputs; may be repeated', layerShape)
    .option('--rows <m>', 'rows (tokens) of a call; may be repeated; default 1 and 128', rows)
    .option('--rounds <n>', 'times that each layer is measured', atLeastOne, 11)
    .option('--peaks', "only the machine's peaks")
    .action(task(bench));
}

/** Block size of int4. */
const BLOCK = 32;

function layerShape(text: string, before: readonly LayerShape[] = []): LayerShape[] {
  const [, k, n] = /^(\d+)[x×](\d+)$/.exec(text) ?? [];
  const [K, N] = [Number(k), Number(n)];
  if (!(K > 0 && N > 0 && K % BLOCK === 0))
    throw new InvalidArgumentError(`Expected KxN as in 896x4864, K a multiple of ${BLOCK}.`);
  return [...before, { name: `${K}×${N}`, K, N }];
}

const rows = (text: string, before: readonly number[] = []): number[] => [...before, atLeastOne(text)];

async function bench({ out, progress, undo }: Task, options: Options): Promise<void> {
  const machine = thisMachine();
  progress.update("Measuring the machine's peaks");
  const peaks = measurePeaks();
  const shapes = options.peaks ? [] : (options.shape ?? LLM_LAYERS);
  const total = shapes.length;
  let done = 0;
  const layers: LayerResult[] = [];
  for (const shape of shapes) {
    undo.check();
    const measured = await measureLayers({
      ort: runtime({ threads: 1 }),
      shapes: [shape],
      rows: options.rows ?? [DECODE_ROWS, PREFILL_ROWS],
      rounds: options.rounds,
      onProgress: (detail) => {
        progress.update('Measuring', { done, total, unit: total === 1 ? 'layer' : 'layers', detail });
        undo.check();
      },
    });
    layers.push(...measured);
    done++;
  }
  progress.clear();
  out.result({ machine, peaks, threads: 1, layers }, () => {
    const { dotGmacs, relaxedDotGmacs, readGigabytes } = peaks;
    const lines = [
      `${machineText(machine)}; one thread`,
      '',
      `int16 dot products    ${threeDigits(dotGmacs)} GMAC/s`,
      `int8 dot products     ${relaxedDotGmacs === undefined ? 'this engine has no relaxed SIMD' : `${threeDigits(relaxedDotGmacs)} GMAC/s`}`,
      `reading memory        ${threeDigits(readGigabytes)} GB/s`,
    ];
    if (layers.length === 0) return lines.join('\n');
    const difference = Math.max(...layers.map(({ relativeError }) => relativeError));
    return [
      ...lines,
      '',
      layerTable(layers),
      '',
      `MatMulNBits, int4 in blocks of 32, through session.run: medians of ${options.rounds} rounds in turns. Results differ by at most ${difference.toExponential(1)} (relative).`,
      'Of limit: of min(peak of int16 dot products, read bandwidth ÷ bytes per multiplication), measured in the same rounds; int8 dot products go beyond it.',
    ].join('\n');
  });
}
