/** Options of `npm run bench -- first-tokens` on the command line. */
import { choice, count, list, positive } from '../arguments.ts';
import { type FirstTokensOptions, MODELS, PROVIDERS } from './index.ts';
import { PLACES, USUAL_PLACES } from './places.ts';

/** For `parseArgs`; all others it shares with other benchmarks, whose defaults are not its own. */
export const FIRST_TOKENS_FLAGS = {
  tokens: { type: 'string', default: '150' },
  providers: { type: 'string', default: 'msd' },
  rate: { type: 'string' },
} as const;

type Flag = 'models' | 'layers' | 'scale' | 'in' | 'prompt' | 'rounds' | 'clock' | keyof typeof FIRST_TOKENS_FLAGS;

export function firstTokensOptions(
  values: Partial<Record<Flag, string>> & { readonly out: string },
): FirstTokensOptions {
  return {
    models: list('models', values.models ?? 'story,smollm2-135m', MODELS),
    layers: values.layers === undefined ? undefined : count('layers', values.layers),
    scale: positive('scale', values.scale ?? '1'),
    places: list('in', values.in ?? USUAL_PLACES.join(), PLACES),
    providers: list('providers', values.providers ?? FIRST_TOKENS_FLAGS.providers.default, PROVIDERS),
    prompt: count('prompt', values.prompt ?? '16'),
    tokens: count('tokens', values.tokens ?? FIRST_TOKENS_FLAGS.tokens.default),
    rate: values.rate === undefined ? undefined : positive('rate', values.rate),
    rounds: count('rounds', values.rounds ?? '5'),
    clock: choice('clock', values.clock ?? 'wall', ['wall', 'cpu']),
    out: values.out,
    log: (message) => console.log(`  ${message}`),
  };
}
