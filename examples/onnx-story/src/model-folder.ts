/** Looks at the files of a folder: which kinds of weights it has, and whether this page can run it. */
import { DTYPES, type Dtype, type FolderFiles } from './protocol.ts';

/** How Transformers.js ends the names of files, by kind of weights. */
const SUFFIXES: Readonly<Record<Dtype, string>> = {
  q4: '_q4',
  q4f16: '_q4f16',
  q8: '_quantized',
  int8: '_int8',
  uint8: '_uint8',
  fp16: '_fp16',
  fp32: '',
  bnb4: '_bnb4',
  q2: '_q2',
  q2f16: '_q2f16',
  q1: '_q1',
  q1f16: '_q1f16',
};
/** A text model is one file under one of these names. */
const NAMES = ['model', 'decoder_model_merged'];
const LAYOUT = 'config.json, tokenizer.json, tokenizer_config.json and onnx/model_q4.onnx or the like';

/** @param files by their path in what was dropped or chosen, the folder's own name first */
export async function openFolder(
  files: ReadonlyMap<string, File>,
): Promise<{ name: string; files: FolderFiles; dtypes: Dtype[] }> {
  const configs = [...files.keys()].filter((path) => /(^|\/)config\.json$/.test(path));
  const config = configs.sort((a, b) => a.length - b.length)[0];
  if (config === undefined)
    throw new Error(`There is no config.json. Choose a whole folder in the layout of Transformers.js: ${LAYOUT}.`);
  const root = config.slice(0, -'config.json'.length);
  const own = new Map(
    [...files].filter(([path]) => path.startsWith(root)).map(([path, file]) => [path.slice(root.length), file]),
  );
  const name = root.split('/').at(-2) ?? 'folder';
  await checkConfig(name, own.get('config.json')!);
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    if (!own.has(file)) throw new Error(`${name} has no ${file}. Export the tokenizer, too. The page needs ${LAYOUT}.`);
  const dtypes = DTYPES.filter((dtype) => findFile(own, dtype));
  if (dtypes.length === 0)
    throw new Error(`${name} has no ONNX file where Transformers.js looks for one. It needs ${LAYOUT}.`);
  return { name, files: own, dtypes };
}

async function checkConfig(name: string, file: File): Promise<void> {
  let config: { architectures?: unknown };
  try {
    config = JSON.parse(await file.text()) as typeof config;
  } catch {
    throw new Error(`${name}/config.json is not JSON. Export the model again.`);
  }
  const [architecture] = Array.isArray(config.architectures) ? config.architectures : [];
  if (typeof architecture === 'string' && !/CausalLM|LMHeadModel|ConditionalGeneration/.test(architecture))
    throw new Error(
      `${name} is a ${architecture}, which does not write text. Choose a …ForCausalLM, like Llama, Qwen or SmolLM.`,
    );
}

function findFile(files: FolderFiles, dtype: Dtype): { subfolder: string; name: string } | undefined {
  for (const subfolder of ['onnx', ''])
    for (const name of NAMES) {
      const path = `${subfolder ? `${subfolder}/` : ''}${name}${SUFFIXES[dtype]}.onnx`;
      if (files.has(path)) return { subfolder, name };
    }
  return undefined;
}

/** Where the ONNX file of this kind is, and how many files its weights lie in besides. */
export function fileNameOf(
  files: FolderFiles,
  dtype: Dtype,
): { subfolder: string; name: string; externalFiles: number } {
  const found = findFile(files, dtype);
  if (!found) throw new Error(`The folder has no ${dtype} file.`);
  const path = `${found.subfolder ? `${found.subfolder}/` : ''}${found.name}${SUFFIXES[dtype]}.onnx_data`;
  const externalFiles = [...files.keys()].filter((own) => own.startsWith(path)).length;
  return { ...found, externalFiles };
}

/** What was dropped, walked through. */
export async function readDropped(data: DataTransfer): Promise<ReadonlyMap<string, File>> {
  const files = new Map<string, File>();
  // Before the first await: items are gone then. Not everything that can be dropped is an entry of a file system.
  const dropped = [...data.items].map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  for (const one of dropped) {
    if (one instanceof File) files.set(one.name, one);
    else if (one) await walk(one, files);
  }
  return files;
}

async function walk(entry: FileSystemEntry, files: Map<string, File>): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    files.set(entry.fullPath.slice(1), file);
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // Chromium gives a hundred at a time.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const one of some) await walk(one, files);
  }
}
