/** Reads the command line of `npm run bench` and starts the benchmark it names: USAGE below. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { choice, count, list } from './arguments.ts';
import { measureAttentions } from './attention/index.ts';
import { CASES } from './cases.ts';
import { measureDecoders } from './decoder/index.ts';
import { DECODER_FLAGS, decoderOptions } from './decoder/options.ts';
import type { EngineId } from './engines/engine.ts';
import { describeMachine, type Environment, runEnvironment } from './environments.ts';
import { measureFirstTokens } from './first-tokens/index.ts';
import { FIRST_TOKENS_FLAGS, firstTokensOptions } from './first-tokens/options.ts';
import { measureForecasts } from './forecast/index.ts';
import { writeTheory } from './forecast/page.ts';
import { GAIN_PICTURE, gainPicture, gainResult } from './gain.ts';
import { goalsOf } from './goals.ts';
import { printKernelTable } from './kernel-table.ts';
import { measureMessages, messagesTable } from './messages.ts';
import { measureNnOps } from './nn/index.ts';
import { measureInNodes, NODES, type NodeName } from './old-new-nodes.ts';
import { writeOldNew } from './old-new-report.ts';
import { readPaper, writePaper } from './paper.ts';
import { writeReadme } from './readme.ts';
import { resultFile, writeReport } from './report.ts';
import { SECTIONS, type Section } from './request.ts';
import type { EnvironmentResult } from './results.ts';

const ENGINES: readonly EngineId[] = ['msd', 'ort', 'litert', 'tfjs', 'llama'];
const ENVIRONMENTS: Record<string, Environment> = {
  chromium: { platform: 'chromium', flags: [] },
  node: { platform: 'node', flags: [] },
  'chromium-no-vnni': { platform: 'chromium', flags: ['--no-enable-avx-vnni'] },
  'node-no-vnni': { platform: 'node', flags: ['--no-enable-avx-vnni'] },
};
const USAGE = `npm run bench [-- OPTIONS]            the comparison with other engines; writes JSON, Markdown and plots
npm run bench -- report [--out DIR]   the report again, from the JSON that is there
npm run bench -- readme [--out DIR]   the README's table from it, and its picture
npm run bench -- paper                the figures and pictures of docs/paper.md and docs/theory.md, from what msd paper and the forecasts have recorded
npm run bench -- kernels [--sample FOLDER] [--json FILE] [--rounds N]
npm run bench -- kernels --old DIR [--in node20,node22,node24] [--processes N] [--cases WORDS] [--rounds N] [--clock wall|process] [--out DIR]
npm run bench -- nn [--cases WORDS] [--rounds N] [--out DIR]
npm run bench -- attention [--cases WORDS] [--rounds N] [--clock wall|cpu] [--out DIR]
npm run bench -- forecast [--cases WORDS] [--rounds N] [--out DIR]
npm run bench -- messages [--rounds N]
npm run bench -- decoder [--models NAMES] [--msd DIR] …
npm run bench -- first-tokens [--models NAMES] [--in PLACES] [--prompt N] [--tokens N] [--rounds N] [--clock wall|cpu] …

docs/benchmarks.md explains the options and the method.`;
const RESULTS = fileURLToPath(new URL('./results/', import.meta.url));

const OPTIONS = {
  help: { type: 'boolean', short: 'h', default: false },
  in: { type: 'string' },
  threads: { type: 'string' },
  sections: { type: 'string', default: SECTIONS.join(',') },
  cases: { type: 'string', default: '' },
  engines: { type: 'string', default: ENGINES.join(',') },
  variants: { type: 'string', default: '' },
  rounds: { type: 'string' },
  'sample-ms': { type: 'string', default: '40' },
  out: { type: 'string', default: join(RESULTS, new Date().toISOString().slice(0, 10)) },
  sample: { type: 'string' },
  json: { type: 'string' },
  old: { type: 'string' },
  processes: { type: 'string' },
  ...DECODER_FLAGS,
  ...FIRST_TOKENS_FLAGS,
} as const;

/** Options that a benchmark does not know, and values that it cannot take, in one sentence; faults of its own stay whole. */
function refuse(error: unknown): never {
  const { code, message } = error as { readonly code?: string; readonly message: string };
  if (!message.startsWith('bench: ') && !code?.startsWith('ERR_PARSE_ARGS')) throw error;
  console.error(`${message}\n\n${USAGE}`);
  process.exit(2);
}

function readCommandLine() {
  try {
    return parseArgs({ options: OPTIONS, allowPositionals: true });
  } catch (error) {
    return refuse(error);
  }
}

const { values, positionals } = readCommandLine();

/** Those of environments: other benchmarks leave their results in the folder, too. */
function readResults(folder: string): EnvironmentResult[] {
  return readdirSync(folder)
    .filter((name) => /-t\d+\.json$/.test(name))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as EnvironmentResult);
}

function report(folder: string): void {
  const runs = readResults(folder);
  const { markdown, plots } = writeReport(runs);
  writeFileSync(join(folder, 'README.md'), markdown);
  for (const [name, svg] of Object.entries(plots)) writeFileSync(join(folder, name), svg);
  for (const { verdict, environment, group, goal, got, least } of runs.flatMap(goalsOf)) {
    const figures = got === undefined ? `at least ${least}` : `${got.toFixed(2)}, at least ${least}`;
    console.log(`${verdict.padEnd(18)} ${environment}: ${group}: ${goal} (${figures})`);
  }
  console.log(`\n${join(folder, 'README.md')}`);
}

/** What was measured before in this environment stays, as far as this request did not measure it again. */
function merge(before: EnvironmentResult | undefined, now: EnvironmentResult): EnvironmentResult {
  if (!before) return now;
  const cases = [...before.cases.filter(({ id }) => !now.cases.some((other) => other.id === id)), ...now.cases];
  const kept = <T extends readonly unknown[]>(old: T, fresh: T): T => (fresh.length > 0 ? fresh : old);
  return {
    ...now,
    cases: CASES.flatMap(({ id }) => cases.find((test) => test.id === id) ?? []),
    versions: { ...before.versions, ...now.versions },
    absent: { ...before.absent, ...now.absent },
    accuracy: kept(before.accuracy, now.accuracy),
    beyondCache: now.beyondCache ?? before.beyondCache,
    activationBlocks: kept(before.activationBlocks, now.activationBlocks),
    wholeModels: kept(before.wholeModels, now.wholeModels),
    memory: kept(before.memory, now.memory),
  };
}

async function compare(): Promise<void> {
  const { out } = values;
  mkdirSync(out, { recursive: true });
  const sections = list<Section>('sections', values.sections, SECTIONS);
  const engines = list<EngineId>('engines', values.engines, ENGINES);
  const environments = list('in', values.in ?? 'chromium,node,chromium-no-vnni', Object.keys(ENVIRONMENTS));
  const threadCounts = list('threads', values.threads ?? '1,2', ['1', '2']).map(Number);
  for (const name of environments)
    for (const threads of threadCounts) {
      console.log(`${name}, ${threads} thread${threads > 1 ? 's' : ''}`);
      // Accuracy, activation blocks and memory do not depend on threads.
      const once: readonly Section[] = ['accuracy', 'activation-blocks', 'memory'];
      const result = await runEnvironment(ENVIRONMENTS[name]!, {
        threads,
        sections: threads > 1 ? sections.filter((section) => !once.includes(section)) : sections,
        cases: values.cases.split(',').filter(Boolean),
        engines,
        variants: values.variants.split(',').filter(Boolean),
        rounds: count('rounds', values.rounds ?? '9'),
        sampleMs: count('sample-ms', values['sample-ms']),
      });
      const file = join(out, resultFile(result));
      const before = readResults(out).find((run) => resultFile(run) === resultFile(result));
      writeFileSync(file, `${JSON.stringify(merge(before, result))}\n`);
    }
  report(out);
}

/** This build and another checkout's. */
async function compareBuilds(old: string): Promise<void> {
  const [load] = loadavg();
  const rounds = count('rounds', values.rounds ?? '41');
  const cases = values.cases.split(',').filter(Boolean);
  const log = (message: string) => console.log(`  ${message}`);
  const { out } = values;
  const clock = choice('clock', values.clock ?? 'process', ['wall', 'process'] as const);
  const names = list('in', values.in ?? 'node24', Object.keys(NODES) as NodeName[]);
  const processes = count('processes', values.processes ?? '1');
  const nodes = await measureInNodes(names, processes, { old, rounds, cases, clock }, log);
  mkdirSync(out, { recursive: true });
  const date = new Date().toISOString();
  const run = { date, machine: describeMachine(), load: Number(load!.toFixed(2)), rounds, processes, clock, nodes };
  console.log(`\n${writeOldNew(out, run)}`);
}

/** Ops between two products. */
async function compareNn(): Promise<void> {
  const report = await measureNnOps({
    cases: values.cases.split(',').filter(Boolean),
    rounds: count('rounds', values.rounds ?? '15'),
    out: values.out,
    log: (message) => console.log(`  ${message}`),
  });
  console.log(`\n${report}`);
}

/** What benchmarks of one process are told. */
function comparison(rounds: string) {
  return {
    cases: values.cases.split(',').filter(Boolean),
    rounds: count('rounds', values.rounds ?? rounds),
    clock: choice('clock', values.clock ?? 'wall', ['wall', 'cpu'] as const),
    out: values.out,
    log: (message: string) => console.log(`  ${message}`),
  };
}

/** The benchmark that the first word names; without one, the comparison. */
async function measure(): Promise<void> {
  switch (positionals[0]) {
    case 'kernels':
      if (values.old !== undefined) {
        await compareBuilds(values.old);
        break;
      }
      await printKernelTable({
        rounds: count('rounds', values.rounds ?? '15'),
        sample: values.sample,
        json: values.json,
      });
      break;
    case 'nn':
      await compareNn();
      break;
    case 'attention':
      console.log(`\n${await measureAttentions(comparison('9'))}`);
      break;
    case 'forecast':
      console.log(`\n${await measureForecasts(comparison('25'))}`);
      break;
    case 'messages':
      console.log(`\n${messagesTable(await measureMessages(count('rounds', values.rounds ?? '15')))}`);
      break;
    case 'decoder':
      await measureDecoders(decoderOptions(values));
      console.log(`\n${readFileSync(join(values.out, 'decoder.md'), 'utf8')}`);
      break;
    case 'first-tokens':
      console.log(`\n${await measureFirstTokens(firstTokensOptions(values))}`);
      break;
    case 'report':
      report(values.out);
      break;
    case 'readme': {
      const run = readResults(values.out).find((other) => resultFile(other) === 'chromium-t1.json');
      if (!run) throw new RangeError(`bench: ${values.out} holds no chromium-t1.json.`);
      writeReadme(run, values.out);
      writeFileSync(GAIN_PICTURE, gainPicture(gainResult()));
      break;
    }
    case 'paper':
      writePaper(readPaper());
      writeTheory();
      break;
    case undefined:
      await compare();
      break;
    default:
      throw new RangeError(
        `bench: expected nothing, 'report', 'readme', 'paper', 'kernels', 'nn', 'attention', 'forecast', 'messages', 'decoder' or 'first-tokens', got '${positionals[0]}'.`,
      );
  }
}

if (values.help) console.log(USAGE);
else await measure().catch(refuse);
