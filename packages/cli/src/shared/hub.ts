/** Repositories of the Hugging Face hub: their files, and where each is. */
import { adviceOnStatus } from '@msd/onnx/model';
import { messageOf, UserError } from './errors.ts';

const DEFAULT_ENDPOINT = 'https://huggingface.co';

/** A repository at one revision. */
export interface HubRepository {
  /** `organisation/name` */
  readonly id: string;
  readonly revision: string;
  readonly endpoint: string;
}

/** The hub that is asked; the variables are those of Hugging Face's own tools. */
export function hubEndpoint(): string {
  return (process.env.HF_ENDPOINT || DEFAULT_ENDPOINT).replace(/\/+$/, '');
}

/** What a request to the hub carries: a token for repositories that are not public. */
export function hubHeaders(url: string): Record<string, string> {
  const token = process.env.HF_TOKEN;
  return token && url.startsWith(`${hubEndpoint()}/`) ? { authorization: `Bearer ${token}` } : {};
}

/** True for `organisation/name`. */
export function isHubId(text: string): boolean {
  return /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(text) && !/\.onnx$/i.test(text);
}

/** The repository, and the file in it, of an address of the hub's own pages; `undefined` for any other. */
export function fromHubUrl(url: string): { repository: HubRepository; file: string | undefined } | undefined {
  const endpoint = hubEndpoint();
  if (!url.startsWith(`${endpoint}/`)) return undefined;
  const path = url.slice(endpoint.length + 1).split(/[?#]/)[0]!;
  const found = /^([\w.-]+\/[\w.-]+)(?:\/(?:resolve|blob|tree)\/([^/]+)(?:\/(.+))?)?\/?$/.exec(path);
  if (!found) return undefined;
  const [, id, revision = 'main', file] = found;
  return { repository: { id: id!, revision, endpoint }, file };
}

/** Where a file of a repository is. */
export function hubFileUrl({ id, revision, endpoint }: HubRepository, file: string): string {
  return `${endpoint}/${id}/resolve/${revision}/${file.split('/').map(encodeURIComponent).join('/')}`;
}

/**
 * The names of all files of a repository.
 *
 * @throws {@link UserError} when there is none, it is not public, or the hub cannot be reached
 */
export function hubFiles({ id, revision, endpoint }: HubRepository, patience: Patience): Promise<string[]> {
  const url = `${endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}`;
  return ask(
    url,
    patience,
    async (response) => {
      if (response.ok) return namesIn(await response.json());
      await response.body?.cancel();
      const isClosed = response.status === 401 || response.status === 403 || response.status === 404;
      throw new UserError(
        isClosed
          ? `There is no folder ${id} here, and no public model ${id} on ${endpoint}. Is the name right? For one that is not public set HF_TOKEN.`
          : `${url}: expected HTTP 200, got ${response.status}. ${adviceOnStatus(response.status)}`,
      );
    },
    (why) =>
      `There is no folder ${id} here, and the hub ${endpoint} does not answer (${why}). Pass a folder or an .onnx file, or try again with a connection.`,
  );
}

function namesIn(answer: unknown): string[] {
  const { siblings = [] } = answer as { siblings?: readonly { readonly rfilename: string }[] };
  return siblings.map(({ rfilename }) => rfilename);
}

/** How long to wait for a server. */
export interface Patience {
  readonly signal: AbortSignal;
  /** After which an answer that is not complete is given up; 0: never. */
  readonly timeoutMs: number;
}

/**
 * Asks for a small file, with the token where it is the hub's.
 *
 * @param take makes something of the answer, whatever its status
 * @param refusal the sentence for a server that does not answer, and why
 * @throws {@link UserError}
 */
export async function ask<T>(
  url: string,
  { signal, timeoutMs }: Patience,
  take: (response: Response) => Promise<T>,
  refusal: (why: string) => string,
): Promise<T> {
  const limited = timeoutMs > 0 ? AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) : signal;
  try {
    return await take(await fetch(url, { signal: limited, headers: hubHeaders(url) }));
  } catch (cause) {
    if (cause instanceof UserError) throw cause;
    signal.throwIfAborted();
    const why = limited.aborted ? `nothing for ${timeoutMs / 1000} s` : messageOf((cause as Error).cause ?? cause);
    throw new UserError(refusal(why), { cause });
  }
}
