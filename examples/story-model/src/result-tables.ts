/** The decoder's table of `npm start`, as text. */

import { percent, times } from '../../../packages/cli/src/bench/table.ts';
import { threeDigits } from '../../../packages/cli/src/shared/numbers.ts';
import { formatTable } from '../../../packages/cli/src/shared/table.ts';
import type { Summary } from '../../../test/bench/samples.ts';
import type { Accuracy, Alone, Both, Speed } from './compare.ts';
import { ENGINE_NAMES } from './engines.ts';

export interface DecoderResults {
  readonly tokens: number;
  readonly prompts: number;
  readonly accuracy: Both<Accuracy>;
  readonly speed: Both<Speed>;
  readonly alone: Both<Alone>;
  readonly foreignRuns: number;
}

const NONE = '–';

const withSpread = ({ median, spread }: Summary): string => `${threeDigits(median)} ${percent(spread).padStart(7)}`;

/** Decoder, both engines: speed, start, memory, accuracy. */
export function decoderTable({ tokens, prompts, accuracy, speed, alone, foreignRuns }: DecoderResults): string {
  const row = <T>(label: string, values: Both<T>, show: (value: T) => string, gain = ''): string[] => [
    label,
    show(values.ort),
    show(values.msd),
    gain,
  ];
  const { ort, msd } = speed;
  const megabytes = ({ wasmBytes }: Alone): string => `${(wasmBytes / 1e6).toFixed(1)} MB`;
  const identical = ({ identicalTokens }: Accuracy): string => `${identicalTokens} of ${tokens}`;
  return formatTable(
    [
      { header: '', align: 'left' },
      { header: ENGINE_NAMES.ort, align: 'right' },
      { header: ENGINE_NAMES.msd, align: 'right' },
      { header: 'gain', align: 'right' },
    ],
    [
      row(
        'tokens/s',
        speed,
        (s) => withSpread(s.tokensPerSecond),
        times(msd.tokensPerSecond.median / ort.tokensPerSecond.median),
      ),
      row('ms per token', speed, (s) => withSpread(s.msPerToken)),
      row(
        'time to first token, ms',
        speed,
        (s) => withSpread(s.firstTokenMs),
        times(ort.firstTokenMs.median / msd.firstTokenMs.median),
      ),
      row('load time, ms', alone, (a) => withSpread(a.loadMs)),
      row('load and first token, ms', alone, (a) => withSpread(a.coldStartMs)),
      row('WASM memory', alone, megabytes),
      row('SQNR of the logits, dB', accuracy, (a) => (a.sqnrDb === Infinity ? 'equal' : a.sqnrDb.toFixed(1))),
      row(`identical tokens${prompts > 1 ? `, each of ${prompts} prompts` : ''}`, accuracy, identical),
      ['foreign runs per token', NONE, String(foreignRuns), ''],
    ],
  );
}
