/** Tells Transformers.js where a model is: beside the page, on the hub, or in files that the reader chose. */
import { env } from '@huggingface/transformers';
import { fileNameOf } from './model-folder.ts';
import type { FolderFiles, LoadRequest } from './protocol.ts';

/** Where the files of a folder seem to be: a path, for Transformers.js looks for no tokenizer behind an address of another host. */
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
  env.allowLocalModels = true;
  env.allowRemoteModels = false;
  env.useBrowserCache = false; // under a name like "story" other pages of this host may keep another model
  if (source.kind === 'shipped') {
    env.localModelPath = new URL('models/', base).pathname; // a path: see FOLDER
    return { model: 'story', options: {} };
  }
  env.localModelPath = FOLDER;
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
