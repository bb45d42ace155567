/**
 * What a user means by MODEL: an .onnx file, a folder in Transformers.js' layout, a URL of either, or a model of the hub. Nothing
 * but lists of files is read here.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { adviceOnStatus } from '@msd/onnx/model';
import { UsageError, UserError } from './errors.ts';
import {
  ask,
  fromHubUrl,
  type HubRepository,
  hubEndpoint,
  hubFiles,
  hubFileUrl,
  isHubId,
  type Patience,
} from './hub.ts';
import { DTYPE_ENDINGS, type ModelFile, PREFERRED_DTYPES, parseFileName } from './layout.ts';

/** After how long what does not come is given up, unless the user says. */
const TIMEOUT_MS = 60_000;

/** A model that was found. */
export interface Located {
  /** What the user wrote. */
  readonly asked: string;
  readonly kind: 'file' | 'folder' | 'url' | 'hub';
  /** All its ONNX files; at least one. */
  readonly files: readonly ModelFile[];
  /** Names of all files beside them, as far as somebody can list them. */
  readonly names: readonly string[];
  /** A small file of the model (config.json, tokenizer.json) as text; `undefined` if it has none. */
  readText(name: string): Promise<string | undefined>;
}

/** True for what is fetched. */
export function isUrl(location: string): boolean {
  return /^https?:/i.test(location);
}

/**
 * Finds a model.
 *
 * @param timeoutMs after which a small file or a list of files that does not come is given up; 0: never
 * @throws {@link UserError} when nothing is there, or no ONNX file
 */
export async function locate(asked: string, signal: AbortSignal, timeoutMs = TIMEOUT_MS): Promise<Located> {
  const patience = { signal, timeoutMs };
  if (isUrl(asked)) return locateUrl(asked, patience);
  const path = /^file:/i.test(asked) ? fileURLToPath(asked) : asked;
  if (existsSync(path)) return statSync(path).isDirectory() ? locateFolder(asked, path) : locateFile(asked, path);
  if (isHubId(asked)) return locateHub(asked, { id: asked, revision: 'main', endpoint: hubEndpoint() }, patience);
  // Node reads names as UTF-8, and cannot say which other bytes there were.
  if (asked.includes('\ufffd'))
    throw new UserError(`${asked}: a name that is not UTF-8, which Node cannot open. Rename it.`);
  throw new UserError(
    `${asked} does not exist. Pass an .onnx file, a folder with onnx/*.onnx, a URL, or the id of a model on the hub (organisation/name).`,
  );
}

function locateFile(asked: string, path: string): Located {
  // What the file is, whoever reads it says: a model may have any name.
  const named = parseFileName(path) ?? { module: basename(path), dtype: 'fp32' };
  const folder = dirname(path);
  const root =
    basename(folder) === 'onnx' && existsSync(join(dirname(folder), 'config.json')) ? dirname(folder) : folder;
  return {
    asked,
    kind: 'file',
    files: [{ ...named, name: basename(path), location: path }],
    names: listed(folder),
    readText: (name) => readText(root, name),
  };
}

function locateFolder(asked: string, folder: string): Located {
  const names = [...listed(join(folder, 'onnx')).map((name) => `onnx/${name}`), ...listed(folder)];
  const files = modelFiles(names, (name) => join(folder, name));
  if (files.length === 0) {
    throw new UserError(
      `${asked} has no .onnx file, nor has its folder onnx. Pass a folder as Transformers.js has them: config.json, tokenizer.json, onnx/model_q4.onnx.`,
    );
  }
  return { asked, kind: 'folder', files, names, readText: (name) => readText(folder, name) };
}

function listed(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).sort() : [];
}

async function readText(folder: string, name: string): Promise<string | undefined> {
  const path = join(folder, name);
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

async function locateUrl(asked: string, patience: Patience): Promise<Located> {
  const hub = fromHubUrl(asked);
  if (hub?.file === undefined || !/\.onnx$/i.test(hub.file)) {
    if (hub) return locateHub(asked, hub.repository, patience);
  }
  const url = hub?.file === undefined ? asked : hubFileUrl(hub.repository, hub.file);
  if (!URL.canParse(url))
    throw new UserError(`${asked} is not a whole address. Pass one like https://host/model.onnx.`);
  const path = new URL(url).pathname;
  const named = parseFileName(path);
  if (!named && path.endsWith('/')) {
    throw new UserError(
      `${asked} is a folder on a server, whose files cannot be listed. Pass the URL of its .onnx file.`,
    );
  }
  const base = new URL('.', url);
  const root = base.pathname.endsWith('/onnx/') ? new URL('..', base) : base;
  const name = decodeURIComponent(basename(path));
  return {
    asked,
    kind: 'url',
    files: [{ ...(named ?? { module: name, dtype: 'fp32' }), name, location: url }],
    names: [],
    readText: (file) => fetchText(new URL(file, root).href, patience),
  };
}

async function locateHub(asked: string, repository: HubRepository, patience: Patience): Promise<Located> {
  const names = await hubFiles(repository, patience);
  const files = modelFiles(names, (name) => hubFileUrl(repository, name));
  if (files.length === 0) {
    throw new UserError(
      `${asked} has no .onnx file. Look for the same model under onnx-community, or convert it with optimum.`,
    );
  }
  const readText = async (name: string): Promise<string | undefined> =>
    names.includes(name) ? fetchText(hubFileUrl(repository, name), patience) : undefined;
  return { asked, kind: 'hub', files, names, readText };
}

const fetchText = (url: string, patience: Patience): Promise<string | undefined> =>
  ask(
    url,
    patience,
    async (response) => {
      if (response.ok) return response.text();
      await response.body?.cancel();
      if (response.status === 404) return undefined;
      throw new UserError(`${url}: expected HTTP 200, got ${response.status}. ${adviceOnStatus(response.status)}`);
    },
    (why) => `${url}: expected a whole answer, got none (${why}). Is the address right, and the server up?`,
  );

function modelFiles(names: readonly string[], locationOf: (name: string) => string): ModelFile[] {
  return names.flatMap((name) => {
    const named = parseFileName(name);
    return named ? [{ ...named, name, location: locationOf(name) }] : [];
  });
}

/** Which of a model's files are meant. */
export interface Choice {
  readonly dtype?: string | undefined;
  /** `decoder_model_merged`, or a file's name. */
  readonly module?: string | undefined;
}

/**
 * The files that are meant: one for each module, of the dtype asked for, or else the first of {@link PREFERRED_DTYPES} that is there.
 *
 * @throws {@link UsageError} when there is no such file, with those that there are
 */
export function chooseFiles({ asked, files }: Located, { dtype, module }: Choice): readonly ModelFile[] {
  if (dtype !== undefined && DTYPE_ENDINGS[dtype] === undefined)
    throw new UsageError(`--dtype: expected one of ${Object.keys(DTYPE_ENDINGS).join(', ')}, got ${dtype}.`);
  const of = files.filter((file) => module === undefined || file.module === module || basename(file.name) === module);
  if (of.length === 0) {
    const modules = [...new Set(files.map((file) => file.module))].join(', ');
    throw new UsageError(`--module: expected one of ${modules} in ${asked}, got ${module}.`);
  }
  const modules = [...new Set(of.map((file) => file.module))];
  const chosen = modules.flatMap((name) => {
    const candidates = of.filter((file) => file.module === name);
    if (dtype !== undefined) return candidates.find((file) => file.dtype === dtype) ?? [];
    const preferred = PREFERRED_DTYPES.flatMap((each) => candidates.find((file) => file.dtype === each) ?? []);
    return preferred[0] ?? candidates[0]!;
  });
  if (chosen.length > 0) return chosen;
  throw new UsageError(`--dtype: ${asked} has no ${dtype} file. There are ${of.map(({ name }) => name).join(', ')}.`);
}

/**
 * The one file that is meant.
 *
 * @throws {@link UsageError} when there are several modules and none was named
 */
export function chooseFile(located: Located, choice: Choice): ModelFile {
  const [file, ...others] = chooseFiles(located, choice);
  if (others.length === 0) return file!;
  const modules = [file!, ...others].map(({ module }) => module).join(', ');
  throw new UsageError(`${located.asked} has several models. Choose one with --module: ${modules}.`);
}

/** External data of a file as ONNX Runtime Web takes it: the files beside it that begin with its name. */
export function externalDataOf({ names }: Located, file: ModelFile): { path: string; data: string }[] {
  const at = file.name.slice(0, file.name.length - basename(file.name).length);
  const beginning = `${file.name}_data`;
  const isData = (name: string): boolean => name.startsWith(beginning) || name === `${file.name}.data`;
  const folder = file.location.slice(0, file.location.length - basename(file.name).length);
  return names
    .filter(isData)
    .map((name) => ({ path: name.slice(at.length), data: `${folder}${name.slice(at.length)}` }));
}
