/** Options of `npm run bench -- decoder` on the command line. */
import { choice, count, counts, list, positive } from '../arguments.ts';
import { DECODERS, scaled } from '../models/decoder.ts';
import { type DecoderOptions, LOAD_PLACES } from './index.ts';
import { FROMS, SIDES } from './sides.ts';

const string = { type: 'string' } as const;

/** For `parseArgs`, without defaults: other benchmarks have some of them, too. `threads`, `rounds` and `out` are common to all. */
export const DECODER_FLAGS = {
  models: string,
  embedding: string,
  packaging: string,
  layers: string,
  scale: string,
  past: string,
  prompt: string,
  loads: string,
  from: string,
  sides: string,
  clock: string,
  msd: string,
  folder: string,
} as const;

const DEFAULTS: Partial<Record<keyof typeof DECODER_FLAGS, string>> = {
  models: 'qwen2.5-0.5b,smollm2-360m',
  embedding: 'float',
  packaging: 'external',
  scale: '1',
  past: '0,128,1024,4096',
  prompt: '128,512',
  loads: '3',
  from: 'path,bytes',
  clock: 'wall',
};

type Flag = keyof typeof DECODER_FLAGS | 'in' | 'threads' | 'rounds' | 'out';

export function decoderOptions(values: Partial<Record<Flag, string>> & { readonly out: string }): DecoderOptions {
  const given = (flag: keyof typeof DECODER_FLAGS): string => values[flag] ?? DEFAULTS[flag] ?? '';
  const names = DECODERS.map(({ name }) => name);
  const layers = values.layers === undefined ? undefined : count('layers', values.layers);
  const size = { ...(layers !== undefined && { layers }), scale: positive('scale', given('scale')) };
  const all = SIDES.filter((side) => side !== 'before' || values.msd !== undefined).join(',');
  const pasts = counts('past', given('past'));
  const asked = list('models', given('models'), names);
  const shapes = asked.map((name) => scaled(DECODERS.find((shape) => shape.name === name)!, size));
  const most = Math.max(...pasts) + 64;
  const short = shapes.find(({ context }) => context < most);
  if (short) throw new RangeError(`bench: --past expected at most ${short.context - 64} for ${short.name}.`);
  return {
    shapes,
    embedding: choice('embedding', given('embedding'), ['float', 'int4']),
    packaging: choice('packaging', given('packaging'), ['external', 'single', 'parts']),
    sides: list('sides', values.sides ?? all, SIDES),
    msd: values.msd,
    threads: count('threads', values.threads ?? '1'),
    rounds: count('rounds', values.rounds ?? '5'),
    clock: choice('clock', given('clock'), ['wall', 'cpu']),
    pasts,
    prompts: counts('prompt', given('prompt')).filter((prompt) => prompt > 0),
    loads: count('loads', given('loads'), 0),
    froms: list('from', given('from'), FROMS),
    loadsIn: list('in', values.in ?? 'node', LOAD_PLACES),
    folder: values.folder,
    out: values.out,
    log: (message) => console.log(`  ${message}`),
  };
}
