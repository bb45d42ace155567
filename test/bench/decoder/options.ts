/** Options of `npm run bench -- decoder` on the command line. */
import { choice, count, counts, list, positive } from '../arguments.ts';
import { DECODERS, scaled } from '../models/decoder.ts';
import type { DecoderOptions } from './index.ts';
import { FROMS, SIDES } from './sides.ts';

/** For `parseArgs`. `threads`, `rounds` and `out` are those of the other benchmarks. */
export const DECODER_FLAGS = {
  models: { type: 'string', default: 'qwen2.5-0.5b,smollm2-360m' },
  embedding: { type: 'string', default: 'float' },
  packaging: { type: 'string', default: 'external' },
  layers: { type: 'string' },
  scale: { type: 'string', default: '1' },
  past: { type: 'string', default: '0,128,1024,4096' },
  prompt: { type: 'string', default: '128,512' },
  loads: { type: 'string', default: '3' },
  from: { type: 'string', default: 'path,bytes' },
  sides: { type: 'string' },
  clock: { type: 'string', default: 'wall' },
  msd: { type: 'string' },
  folder: { type: 'string' },
} as const;

type Flag = keyof typeof DECODER_FLAGS | 'threads' | 'rounds' | 'out';

export function decoderOptions(values: Partial<Record<Flag, string>> & { readonly out: string }): DecoderOptions {
  const given = (flag: keyof typeof DECODER_FLAGS): string => {
    const { default: standard = '' } = DECODER_FLAGS[flag] as { readonly default?: string };
    return values[flag] ?? standard;
  };
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
    folder: values.folder,
    out: values.out,
    log: (message) => console.log(`  ${message}`),
  };
}
