/** `msd rewrite MODEL -o OUT` */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { checkOutput } from '../edit/disk.ts';
import { outputPaths } from '../edit/model-writer.ts';
import { openModel } from '../edit/open-model.ts';
import { localModel, outputOf } from '../edit/paths.ts';
import { dBText } from '../feeds/compare.ts';
import { type Check, checkRewritten } from '../rewrite/check.ts';
import { type RewriteResult, rewriteModel, type Spelling } from '../rewrite/rewrite.ts';
import { UsageError, UserError } from '../shared/errors.ts';
import { PREFERRED_DTYPES } from '../shared/layout.ts';
import { bytesText } from '../shared/numbers.ts';
import { OutputFiles } from '../shared/output-files.ts';
import { task } from '../shared/task.ts';

interface Options {
  readonly output: string;
  readonly to: string;
  readonly components: string;
  readonly externalData?: boolean;
  readonly check: boolean;
  readonly prompt?: string;
  readonly inputs?: string;
  readonly dtype?: string;
  readonly module?: string;
  readonly force?: boolean;
}

const SPELLINGS: readonly Spelling[] = ['decomposed', 'nbits', 'qdq'];
const ENDINGS: Readonly<Record<Spelling, string>> = { decomposed: '_decomposed', nbits: '_q4', qdq: '_qdq' };

export function define(command: Command): void {
  command
    .argument('<model>', 'an .onnx file with quantized weights, or a folder with onnx/model_q4.onnx')
    .requiredOption('-o, --output <path>', 'the new .onnx file, or a folder for it')
    .option(
      '-t, --to <spelling>',
      'decomposed: MatMulInteger with the digits of activations; nbits: MatMulNBits; qdq: DequantizeLinear and MatMul',
      'decomposed',
    )
    .option('--components <n>', 'decomposed: int8 digits of an activation, 1 or 2', '2')
    .option('--no-check', 'do not run the result')
    .option('--prompt <text>', 'what the check runs on; default: made-up inputs')
    .option('--inputs <file>', 'what the check runs on, as .npz')
    .option('--external-data', 'tensors go to a file beside the model; so they do where they lie so now')
    .option('--dtype <dtype>', 'of a folder: which file, as Transformers.js calls them')
    .option('--module <name>', 'of a folder with several models: which')
    .option('--force', 'replace files that exist')
    .action(
      task(async ({ out, progress, undo, signal }, asked: string, options: Options) => {
        const to = SPELLINGS.find((each) => each === options.to);
        if (!to) throw new UsageError(`--to: expected one of ${SPELLINGS.join(', ')}, got '${options.to}'.`);
        if (options.components !== '1' && options.components !== '2')
          throw new UsageError(`--components: expected 1 or 2, got '${options.components}'.`);
        const { file, root } = await localModel(asked, options, signal, PREFERRED_DTYPES);
        const model = await openModel(file.location);
        undo.add(() => model.close());
        const { path } = outputOf(options.output, file, ENDINGS[to]);
        if (resolve(path) === resolve(file.location))
          throw new UserError(`-o: ${path} is the model itself. Choose another name.`);
        const files = new OutputFiles(undo, options.force === true);
        const isExternal = options.externalData ?? model.record.files.locations.size > 0;
        checkOutput(files, outputPaths(path, isExternal), 2 * model.fileBytes);
        const result = await rewriteModel(model, path, files, undo, {
          to,
          components: options.components === '1' ? 1 : 2,
          isExternal,
          onProduct: (done, total, detail) => progress.update('Rewriting', { done, total, unit: 'products', detail }),
          onBytes: (done, total) => progress.update('Writing', { done, total, unit: 'bytes' }),
        });
        model.close();
        if (result.rewritten.length === 0)
          throw new UserError(
            `${file.location}: nothing to rewrite as ${to}${result.kept.length > 0 ? ` (${result.kept[0]!.name}: ${result.kept[0]!.reason})` : ''}. See: msd inspect ${asked}`,
          );
        files.commit();
        progress.update('Checking');
        const checks = options.check ? await checkRewritten(file.location, path, options, root) : [];
        progress.clear();
        out.result(
          {
            model: file.location,
            output: path,
            to,
            beforeBytes: model.fileBytes,
            byteLength: result.written.byteLength,
            files: result.written.files,
            rewritten: result.rewritten,
            kept: result.kept,
            checks,
          },
          () => rewriteText(result, to, model.fileBytes, checks),
        );
      }),
    );
}

function rewriteText(
  { rewritten, kept, written }: RewriteResult,
  to: Spelling,
  before: number,
  checks: readonly Check[],
): string {
  const lines = [`${rewritten.length} products are ${to} now.`];
  for (const { name, reason } of kept) lines.push(`left as it is: ${name} (${reason})`);
  for (const { engine, sqnr, error } of checks)
    lines.push(
      error === undefined
        ? `${engine}: ${dBText(sqnr ?? Number.POSITIVE_INFINITY)}, against the model before in MSD with 2 components`
        : `${engine}: does not run it: ${error}`,
    );
  lines.push(
    `${bytesText(before)} -> ${bytesText(written.byteLength)}: ${written.files.map(({ path }) => path).join(', ')}`,
  );
  return lines.join('\n');
}
