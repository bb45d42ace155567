/** Tells Transformers.js where a model is: beside the page, on the hub, or in files that the reader chose. */
import { env } from '@huggingface/transformers';
import { useOwnModels } from '../../shared/transformers.ts';
import { fileNameOf } from './model-folder.ts';
import type { FolderFiles, LoadRequest } from './protocol.ts';

/** Where the files of a folder seem to be. */
const FOLDER = '/folder-of-the-reader/';

/** Options of `pipeline` that describe the files. */
interface FileOptions {
  subfolder?: string;
  model_file_name?: string;
  use_external_data_format?: number;
}

/** @returns the name that `pipeline` takes, with what it has to know about the files */
export function openSource({ source, dtype, base }: LoadRequest): { model: string; options: FileOptions } {
  if (source.kind === 'hub') return { model: source.name, options: {} };
  if (source.kind === 'shipped') {
    useOwnModels(env, new URL('models/', base).pathname);
    return { model: 'story', options: {} };
  }
  useOwnModels(env, FOLDER);
  env.fetch = fetchFrom(source.files);
  const { subfolder, name, externalFiles } = fileNameOf(source.files, dtype);
  return {
    model: 'model',
    options: {
      subfolder,
      model_file_name: name,
      ...(externalFiles > 0 && { use_external_data_format: externalFiles }),
    },
  };
}

/** `fetch` over the files: what is not there is not found. */
function fetchFrom(files: FolderFiles): typeof env.fetch {
  return async (input) => {
    const path = decodeURIComponent(String(input).slice(`${FOLDER}model/`.length));
    const file = files.get(path);
    if (!file) return new Response(null, { status: 404 });
    return new Response(file, { headers: { 'Content-Length': String(file.size) } });
  };
}
