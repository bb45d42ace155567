/** Where a command that writes a model reads it, and what it writes. */
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UserError } from '../shared/errors.ts';
import type { ModelFile } from '../shared/layout.ts';
import { chooseFile, chooseFiles, type Located, locate } from '../shared/locate.ts';

interface Choice {
  readonly dtype?: string;
  readonly module?: string;
}

export interface LocalModel {
  readonly located: Located;
  readonly file: ModelFile;
  /** The folder with config.json and tokenizer.json, if there is one. */
  readonly root: string;
}

/**
 * A model on this disk.
 *
 * @param preferred dtypes of a folder, the first that is there, unless `choice` names one
 * @throws {@link UserError} for models elsewhere
 */
export async function localModel(
  asked: string,
  choice: Choice,
  signal: AbortSignal,
  preferred: readonly string[] = ['fp32', 'fp16'],
): Promise<LocalModel> {
  const located = await locate(asked, signal);
  if (located.kind === 'url' || located.kind === 'hub')
    throw new UserError(
      `${asked} is not on this disk. Download it first, with its external data, and pass the file or its folder.`,
    );
  const there = new Set(located.files.map(({ dtype }) => dtype));
  const dtype = choice.dtype ?? (located.kind === 'folder' ? preferred.find((each) => there.has(each)) : undefined);
  const wanted = {
    ...(dtype !== undefined && { dtype }),
    ...(choice.module !== undefined && { module: choice.module }),
  };
  const file = located.kind === 'folder' ? chooseFile(located, wanted) : chooseFiles(located, {})[0]!;
  const folder = dirname(file.location);
  const above = dirname(folder);
  const isAbove = file.name.startsWith('onnx/') || existsSync(join(above, 'config.json'));
  const root = basename(folder) === 'onnx' && isAbove ? above : folder;
  return { located, file, root };
}

export interface OutputPath {
  /** The new .onnx file. */
  readonly path: string;
  /** The folder that was asked for, if it was one. */
  readonly folder: string | undefined;
  /** Small files that a folder gets, too, and where they are now: without them nobody can use the model in it. */
  beside(located: Located): readonly { readonly name: string; readonly from: string }[];
}

/** What `-o` means: an .onnx file, or a folder that gets `onnx/NAME + ending + .onnx`. */
export function outputOf(asked: string, file: ModelFile, ending: string): OutputPath {
  if (/\.onnx$/i.test(asked)) return { path: asked, folder: undefined, beside: () => [] };
  const inOnnx = basename(dirname(file.location)) === 'onnx';
  const name = `${file.module.replace(/\.onnx$/i, '')}${ending}.onnx`;
  return {
    path: join(asked, ...(inOnnx ? ['onnx'] : []), name),
    folder: asked,
    beside: ({ kind, names }) => {
      if (kind !== 'folder') return [];
      const root = file.location.slice(0, -file.name.length);
      return names
        .filter((each) => /^[^/]+\.(json|txt|jinja|model)$/.test(each))
        .map((each) => ({ name: each, from: join(root, each) }));
    },
  };
}
