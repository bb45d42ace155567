/** `msd quantize MODEL -o OUT` */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { checkOutput, copyFile } from '../edit/disk.ts';
import { outputPaths } from '../edit/model-writer.ts';
import { type OpenModel, openModel } from '../edit/open-model.ts';
import { localModel, outputOf } from '../edit/paths.ts';
import { type Calibration, calibration } from '../quantize/calibrate.ts';
import { measureDamage, type Tried } from '../quantize/damage.ts';
import { type Choice, chooser, fitsPattern, parseChoice, parseRule, type Rule } from '../quantize/form.ts';
import { candidatesOf, headInMoreBits, moreBits } from '../quantize/more-bits.ts';
import { type Plan, type PlannedGroup, planModel } from '../quantize/plan.ts';
import { expectedBytes, isExternalBetter, quantizeModel } from '../quantize/quantize.ts';
import { quantizeText, summaries } from '../quantize/report.ts';
import { messageOf, UsageError, UserError } from '../shared/errors.ts';
import { bytesText } from '../shared/numbers.ts';
import type { Output } from '../shared/output.ts';
import { OutputFiles } from '../shared/output-files.ts';
import { type Task, task } from '../shared/task.ts';

interface Options {
  readonly output: string;
  readonly format: string;
  readonly rule?: readonly string[];
  readonly embeddings?: string;
  readonly search: boolean;
  readonly calibrate?: string | false;
  readonly calibrateRows: string;
  readonly externalData?: boolean;
  readonly dtype?: string;
  readonly module?: string;
  readonly thorough?: boolean;
  readonly more: string;
  readonly details?: boolean;
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

/** A model, and what it computes with, have to fit into 4 GB of WebAssembly's memory. */
const MOST_RUN_BYTES = 1.5e9;

const ENDINGS: Readonly<Record<string, string>> = { int8: '_int8', int4: '_q4', int2: '_q2', mxfp4: '_mxfp4' };

const collect = (value: string, all: readonly string[] = []): readonly string[] => [...all, value];

export function define(command: Command): void {
  command
    .argument('<model>', 'an .onnx file of float32 or float16, or a folder with onnx/model.onnx')
    .requiredOption('-o, --output <path>', 'the new .onnx file, or a folder for it and what lies beside the model')
    .option(
      '-f, --format <format>',
      'int8, int4, int2 or mxfp4; behind it :32, :64, :128 (block), :asymmetric. mxfp4 takes 8 bits in the file: ONNX Runtime runs no form of 4',
      'int4',
    )
    .option(
      '-r, --rule <pattern=format>',
      "for nodes or weights by name, * = anything: '*lm_head*=int8', 'encoder.*=keep'",
      collect,
    )
    .option(
      '-e, --embeddings <format>',
      'for tables that token ids look up; default: int8, or what their tied head gets',
    )
    .option('--no-search', 'round to nearest')
    .option(
      '-c, --calibrate <file>',
      'text for a model with tokenizer.json, or inputs as .npz: what scales and codes follow; default: what a decoder writes itself, made-up inputs for others',
    )
    .option('--no-calibrate', 'look at the weights alone: the model is not run')
    .option('--calibrate-rows <n>', 'rows of activations that are looked at, at most', '2048')
    .option('--thorough', 'the slow search for all matrices; default: for as many as take some minutes')
    .option(
      '--more <percent>',
      'int4: bytes that may be added to keep what changes the text most in 8 bits, the head first; 0: nothing',
      '20',
    )
    .option('--external-data', 'tensors go to a file beside the model; so they do above 2 GB, or where they lie so now')
    .option('--dtype <dtype>', 'of a folder: which file, as Transformers.js calls them (fp32, fp16)')
    .option('--module <name>', 'of a folder with several models: which')
    .option('--details', 'a line for each matrix')
    .option('--dry-run', 'say what would be done, and write nothing')
    .option('--force', 'replace files that exist')
    .action(task(quantize));
}

async function quantize(running: Task, asked: string, options: Options): Promise<void> {
  const { out, progress, undo, signal } = running;
  const { format, rules, embeddings, rows, share } = settingsOf(options);
  const { located, file, root } = await localModel(asked, options, signal);
  const model = await openModel(file.location);
  undo.add(() => model.close());
  const patterns = rules.map(({ pattern }) => fitsPattern(pattern));
  const isNamed = (names: readonly string[]): boolean => names.some((name) => patterns.some((fits) => fits(name)));
  const plan = planModel(model, { choose: choiceOf(rules, format, embeddings), isNamed });
  checkRules(rules, plan.names);
  if (plan.groups.length === 0)
    throw new UserError(
      `${file.location}: no float weights to quantize${plan.kept.length > 0 ? ` (${plan.kept[0]!.name}: ${plan.kept[0]!.reason})` : ''}. Is it quantized already? See: msd inspect ${asked}`,
    );
  const output = outputOf(options.output, file, endingOf(format, plan));
  if (resolve(output.path) === resolve(file.location))
    throw new UserError(`-o: ${output.path} is the model itself. Choose another name.`);

  // Who asks for round to nearest gets nothing else.
  const candidates = share > 0 && options.search ? candidatesOf(plan, isNamed) : [];
  const mostBytes = (1 + (candidates.length > 0 ? share : 0)) * plan.byteLength;
  const atMost = expectedBytes(model, { ...plan, byteLength: mostBytes });
  const isExternal = options.externalData ?? isExternalBetter(model, { ...plan, byteLength: mostBytes });
  const head = headInMoreBits(model, plan, candidates, share);
  const expected = expectedBytes(model, head.plan);
  out.note(
    `${file.location}: ${bytesText(model.fileBytes)}, ${plan.groups.length} matrices; ${output.path} will have about ${bytesText(expected)}${candidates.length > 0 ? `, ${bytesText(atMost)} at most` : ''}.`,
  );
  if (options.dryRun) {
    sayPlan(out, head.plan, {
      model: file.location,
      output: output.path,
      beforeBytes: model.fileBytes,
      expectedBytes: expected,
    });
    return;
  }

  const files = new OutputFiles(undo, options.force === true);
  checkOutput(files, outputPaths(output.path, isExternal), expected + (isExternal ? 0 : mostBytes));
  const calibrated = await calibrate(running, model, plan, { path: file.location, root, rows, options });
  const tried =
    calibrated?.texts && (await tryDamage(running, model, plan, candidates, file.location, calibrated.texts));
  const { plan: better, chosen } = tried ? moreBits(plan, tried, share) : head;
  const result = await quantizeModel(model, better, output.path, files, undo, {
    isSearched: options.search,
    isExternal,
    momentsOf: calibrated?.momentsOf,
    onWeights: (done, total, detail) => progress.update('Quantizing', { done, total, unit: 'weights', detail }),
    onBytes: (done, total) => progress.update('Writing', { done, total, unit: 'bytes' }),
  });
  for (const { name, from } of output.beside(located)) {
    const to = join(output.folder!, name);
    if (!existsSync(to)) copyFile(from, files.begin(to));
  }
  files.commit();
  const beforeBytes = model.fileBytes;
  model.close();
  progress.clear();
  out.result(
    {
      model: file.location,
      output: output.path,
      files: result.written.files,
      beforeBytes,
      byteLength: result.written.byteLength,
      summary: summaries(result.matrices),
      matrices: result.matrices,
      moreBits: chosen,
      kept: result.kept,
    },
    () => quantizeText(result, beforeBytes, chosen, options.details === true),
  );
}

/** What the options say. */
function settingsOf(options: Options) {
  const format = parseChoice(options.format, '--format');
  const rules = (options.rule ?? []).map(parseRule);
  const embeddings = options.embeddings === undefined ? undefined : parseChoice(options.embeddings, '--embeddings');
  const rows = Number(options.calibrateRows);
  if (!(Number.isSafeInteger(rows) && rows > 0))
    throw new UsageError(`--calibrate-rows: expected a positive integer, got '${options.calibrateRows}'.`);
  const share = Number(options.more) / 100;
  if (options.more.trim() === '' || !(share >= 0 && share <= 1))
    throw new UsageError(`--more: expected percent, 0 to 100, got '${options.more}'.`);
  return { format, rules, embeddings, rows, share };
}

/** Behind the name of the model in a folder, as Transformers.js expects it. */
function endingOf(format: Choice, plan: Plan): string {
  const isHalf = plan.groups.every(({ matrix }) => matrix.isHalf);
  return `${ENDINGS[format === 'keep' ? 'int8' : format.format]}${isHalf ? 'f16' : ''}`;
}

/** The result of a dry run. */
function sayPlan(out: Output, plan: Plan, totals: Readonly<Record<string, string | number>>): void {
  const matrices = plan.groups.map(({ matrix, shape, byteLength }) => ({
    name: matrix.held.name,
    N: matrix.N,
    K: matrix.K,
    format: shape.format,
    blockSize: shape.blockSize,
    byteLength,
  }));
  out.result({ ...totals, matrices, kept: plan.kept }, () =>
    matrices
      .map(({ name, N, K, format, blockSize }) => `${name} [${N}, ${K}]: ${format}, blocks of ${blockSize}`)
      .join('\n'),
  );
}

/** What inputs of the products are like: `undefined` where the weights alone are looked at. */
async function calibrate(
  { out, progress, undo }: Task,
  model: OpenModel,
  plan: Plan,
  { path, root, rows, options }: { path: string; root: string; rows: number; options: Options },
): Promise<Calibration | undefined> {
  if (options.calibrate === false || !options.search) return undefined;
  if (options.calibrate === undefined && model.fileBytes > MOST_RUN_BYTES) {
    out.warn(`${bytesText(model.fileBytes)} are too many to run the model here: its weights alone are looked at.`);
    return undefined;
  }
  try {
    return await calibration(model, plan, {
      path: options.calibrate,
      model: path,
      root,
      rows,
      isThorough: options.thorough === true,
      onStep: (done, total) => progress.update('Running the float model', { done, total, unit: 'inputs' }),
    });
  } catch (error) {
    if (options.calibrate !== undefined || undo.signal.aborted) throw error;
    out.warn(`Made-up inputs did not work, so its weights alone are looked at: ${messageOf(error)}`);
    return undefined;
  }
}

/** What 4 bits change in the model's texts: `undefined` where that could not be tried. */
async function tryDamage(
  { out, progress, undo }: Task,
  model: OpenModel,
  plan: Plan,
  candidates: readonly PlannedGroup[],
  path: string,
  texts: NonNullable<Calibration['texts']>,
): Promise<Tried[] | undefined> {
  try {
    return await measureDamage(model, plan, candidates, {
      model: path,
      texts,
      undo,
      onStep: (done, total, detail) =>
        progress.update('Trying what 4 bits change', { done, total, unit: 'kinds', detail }),
    });
  } catch (error) {
    if (undo.signal.aborted) throw error;
    out.warn(`What 4 bits change could not be tried, so only the head gets more: ${messageOf(error)}`);
    return undefined;
  }
}

/** Rules first; tables that nobody multiplies by are few bytes and much meaning, so int8 is their default. */
function choiceOf(rules: readonly Rule[], format: Choice, embeddings: Choice | undefined) {
  const forProducts = chooser(rules, format);
  const int8: Choice = { format: 'int8', blockSize: undefined, isAsymmetric: false };
  const forTables = chooser(rules, embeddings ?? (format === 'keep' ? 'keep' : int8));
  return (names: readonly string[], isTable: boolean): Choice => (isTable ? forTables(names) : forProducts(names));
}

/** A rule that fits nothing is a typing error. */
function checkRules(rules: readonly Rule[], names: readonly string[]): void {
  for (const { pattern } of rules) {
    const fits = fitsPattern(pattern);
    if (names.some((name) => fits(name))) continue;
    throw new UserError(
      `--rule '${pattern}': no weights and no node have such a name. Names are like ${names.slice(0, 3).join(', ')}.`,
    );
  }
}
