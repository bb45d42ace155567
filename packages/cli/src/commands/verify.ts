/** `msd verify MODEL` */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { openModel } from '../edit/open-model.ts';
import { localModel } from '../edit/paths.ts';
import { tokenizerOf } from '../feeds/texts.ts';
import { UsageError } from '../shared/errors.ts';
import { PREFERRED_DTYPES } from '../shared/layout.ts';
import { task } from '../shared/task.ts';
import { verifyText } from '../verify/report.ts';
import { verifyModel } from '../verify/verify.ts';

interface Options {
  readonly prompt?: string;
  readonly inputs?: string;
  readonly tokens: string;
  readonly dtype?: string;
  readonly module?: string;
}

export function define(command: Command): void {
  command
    .argument('<model>', 'an .onnx file with quantized weights, or a folder with onnx/model_q4.onnx')
    .option('-p, --prompt <text>', 'what a text model reads, and writes on from; default: made-up inputs')
    .option('-i, --inputs <file>', 'inputs as .npz')
    .option('-n, --tokens <n>', 'tokens to write after a prompt', '24')
    .option('--dtype <dtype>', 'of a folder: which file, as Transformers.js calls them')
    .option('--module <name>', 'of a folder with several models: which')
    .action(
      task(async ({ out, progress, undo, signal }, asked: string, options: Options) => {
        const tokens = Number(options.tokens);
        if (!(Number.isSafeInteger(tokens) && tokens >= 0))
          throw new UsageError(`--tokens: expected an integer of at least 0, got '${options.tokens}'.`);
        const { file, root } = await localModel(asked, options, signal, PREFERRED_DTYPES);
        const model = await openModel(file.location);
        undo.add(() => model.close());
        const result = await verifyModel(model, file.location, root, {
          prompt: options.prompt,
          inputs: options.inputs,
          tokens,
          onStep: (detail, done, total) => progress.update('Verifying', { done, total, unit: 'steps', detail }),
          check: () => undo.check(),
        });
        model.close();
        progress.clear();
        const tokenizer = existsSync(join(root, 'tokenizer.json')) ? tokenizerOf(root) : undefined;
        const word = tokenizer && ((ids: readonly number[]): string => tokenizer.decode([...ids]));
        const texts = result.texts &&
          tokenizer && {
            float: tokenizer.decode([...result.texts.float.tokens]),
            ...Object.fromEntries(
              Object.entries(result.texts.engines).map(([engine, { tokens: ids }]) => [
                engine,
                tokenizer.decode([...ids]),
              ]),
            ),
          };
        // Infinite decibels, of equal bits, are null in JSON.
        out.result({ model: file.location, ...result, ...(texts && { asText: texts }) }, () =>
          verifyText(result, word),
        );
      }),
    );
}
