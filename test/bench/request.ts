/** What the command line asks of one environment; travels as JSON into the process or page that does it. */
import { CASES } from './cases.ts';
import type { Engine, EngineId, Variant } from './engines/engine.ts';
import { measureActivationBlocks, measureBeyondCache } from './msd-only.ts';
import type { EnvironmentResult } from './results.ts';
import { measureAccuracy, measureCase, type Suite } from './suite.ts';

export const SECTIONS = ['cases', 'accuracy', 'beyond-cache', 'activation-blocks', 'whole-models', 'memory'] as const;
export type Section = (typeof SECTIONS)[number];

export interface Request {
  readonly threads: number;
  readonly sections: readonly Section[];
  /** Case ids that contain one of these; empty = all. */
  readonly cases: readonly string[];
  readonly engines: readonly EngineId[];
  /** Ids of variants, each with any number of threads; empty = all. */
  readonly variants: readonly string[];
  readonly rounds: number;
  readonly sampleMs: number;
}

export interface Opened {
  readonly engines: Engine[];
  readonly absent: Record<string, string>;
}

/** Opens the engines that can be had here; the others are named with the reason. */
export async function openEngines(
  wanted: readonly EngineId[],
  open: Partial<Record<EngineId, () => Promise<Engine>>>,
  absent: Record<string, string>,
): Promise<Opened> {
  const engines: Engine[] = [];
  const missing: Record<string, string> = {};
  for (const id of wanted) {
    if (absent[id]) missing[id] = absent[id];
    const start = open[id];
    if (!start) continue;
    try {
      engines.push(await start());
    } catch (error) {
      missing[id] = error instanceof Error ? error.message : String(error);
    }
  }
  return { engines, absent: missing };
}

export type SuiteResult = Pick<
  EnvironmentResult,
  'cases' | 'accuracy' | 'beyondCache' | 'activationBlocks' | 'versions'
>;

/** The sections that every platform has. */
export async function runSections({ engines, ...rest }: Suite, request: Request): Promise<SuiteResult> {
  const wanted = ({ id }: Variant) =>
    request.variants.length === 0 || request.variants.includes(id.replace(/ t\d+$/, ''));
  const suite: Suite = {
    ...rest,
    engines: engines.map((engine) => ({ ...engine, variants: engine.variants.filter(wanted) })),
  };
  const asked = (section: Section) => request.sections.includes(section);
  const chosen = CASES.filter(
    ({ id }) => request.cases.length === 0 || request.cases.some((part) => id.includes(part)),
  );
  const cases = [];
  if (asked('cases')) for (const test of chosen) cases.push(await measureCase(suite, test));
  return {
    cases,
    accuracy: asked('accuracy') ? await measureAccuracy(suite) : [],
    beyondCache: asked('beyond-cache') ? await measureBeyondCache(suite) : undefined,
    activationBlocks: asked('activation-blocks') ? await measureActivationBlocks(suite) : [],
    versions: Object.fromEntries(suite.engines.map(({ id, version }) => [id, version])),
  };
}
