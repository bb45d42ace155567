/** `msd paper`: the claims of the paper behind MSD, checked on this machine by simulation. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { writeFile } from '../edit/disk.ts';
import { casesOf, FULL, QUICK, workOf } from '../paper/cases.ts';
import { runCases } from '../paper/pool.ts';
import { type PaperReport, reportFile, reportOf } from '../paper/report.ts';
import { csvOf, reportText } from '../paper/text.ts';
import { thisMachine } from '../shared/machine.ts';
import { atLeastOne } from '../shared/options.ts';
import { OutputFiles } from '../shared/output-files.ts';
import { type Task, task } from '../shared/task.ts';

interface Options {
  readonly quick?: boolean;
  readonly seed: number;
  readonly out?: string;
  readonly force?: boolean;
}

export function define(command: Command): void {
  command
    .option('--quick', 'fewer lengths and seeds: seconds instead of minutes')
    .option('--seed <n>', 'the first seed', atLeastOne, FULL.firstSeed)
    .option('--out <folder>', 'writes paper.json, tables as CSV and pictures as SVG there')
    .option('--force', 'replaces files that are there')
    .action(task(paper));
}

async function paper(
  { out, progress, undo, signal }: Task,
  { quick, seed, out: folder, force }: Options,
): Promise<void> {
  const files = new OutputFiles(undo, force === true);
  if (folder) files.check(join(folder, 'paper.json'));
  const extent = { ...(quick ? QUICK : FULL), firstSeed: seed };
  const cases = casesOf(extent);
  const total = cases.reduce((sum, each) => sum + workOf(each), 0);
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  let done = 0;
  const say = (detail: string): void =>
    progress.update('Simulating', { done: Math.round((1000 * done) / total) / 10, total: 100, unit: '%', detail });
  say('starting');
  const outcomes = await runCases(cases, signal, ({ of }) => {
    done += workOf(of);
    say(`${of.experiment}, ${of.distribution}, ${of.size}`);
  });
  const { user, system } = process.cpuUsage(cpu);
  const report = reportOf(outcomes, {
    processorMs: Math.round((user + system) / 1000),
    ...{ date: new Date().toISOString(), machine: thisMachine(), elapsedMs: Math.round(performance.now() - start) },
    extent,
  });
  if (folder) await write(report, folder, files);
  progress.clear();
  out.result(report, () => reportText(report));
  if (folder) out.note(`Written to ${folder}.`);
}

async function write(report: PaperReport, folder: string, files: OutputFiles): Promise<void> {
  const { picturesOf } = await import('../paper/pictures.ts');
  const { claims, summaries, models } = report;
  const texts = {
    'paper.json': reportFile(report),
    'claims.csv': csvOf(claims.map(({ id, says, got, verdict, why }) => ({ id, says, got, verdict, why }))),
    'errors.csv': csvOf(summaries),
    'traffic.csv': csvOf(models.traffic),
    'latency.csv': csvOf(models.latency),
    ...picturesOf(report),
  };
  for (const [name, text] of Object.entries(texts)) writeFile(files.begin(join(folder, name)), text);
  files.commit();
}
