/**
 * Before a page has its first model: while the file arrives, a decoder of zeros is created and run (warm-model.ts), so
 * that the code is fetched, compiled and optimised when the file is there.
 */
import type { OrtHandler } from '../ort.ts';
import { builtin } from '../read/builtin.ts';
import type { AbortSignalLike } from '../read/fetch.ts';
import { nextTask } from './abort.ts';

/** Creates a session with options of `InferenceSession.create`. */
type Create = (model: Uint8Array, options: object) => Promise<OrtHandler>;

/** Milliseconds before anything is run: a file that arrives sooner would have to wait for it. */
const DELAY_MS = 200;

/** Marks the entry of `executionProviders` of the session that is only there to warm. */
export const WARMS: unique symbol = /* @__PURE__ */ Symbol.for('msd.warms');

/** Of the page: `undefined` before; and whether there was a session, after which there is nothing to warm. */
let warming: AbortController | undefined;
let isOver = false;
/** What it took. */
let milliseconds: number | undefined;

/** How long MSD's code was warmed on this page; `undefined` if it was not. */
export const warmedMilliseconds = (): number | undefined => milliseconds;

/**
 * Begins once, on visible pages and in workers. In Node, processes have other work to do, and most files need not be
 * downloaded.
 */
export function beginWarming(create: Create): void {
  const { document } = globalThis as { readonly document?: { readonly visibilityState: string } };
  if (isOver || warming || document?.visibilityState === 'hidden' || builtin('node:fs')) return;
  warming = new AbortController();
  const { signal } = warming;
  // An error here comes again, and is reported, when a session is created.
  void warm(create, signal).catch(() => {});
}

async function warm(create: Create, signal: AbortSignalLike): Promise<void> {
  const { warmModel } = await import('./warm-model.ts');
  await new Promise((resolve) => setTimeout(resolve, DELAY_MS));
  if (!signal.aborted) await idle();
  if (signal.aborted) return;
  const executionProviders = [{ name: 'msd', threads: 1, [WARMS]: true }];
  const begun = performance.now();
  try {
    const session = await create(warmModel(), { executionProviders, signal });
    await session.dispose();
  } finally {
    milliseconds = performance.now() - begun;
  }
}

/** Resolves when the page has nothing to do: Safari, and workers, say it with the end of a task. */
async function idle(): Promise<void> {
  const { requestIdleCallback } = globalThis as { requestIdleCallback?: (run: () => void) => void };
  if (!requestIdleCallback) return nextTask();
  await new Promise<void>((resolve) => requestIdleCallback(() => resolve()));
}

/** Ends it: there is a model that MSD takes. */
export function endWarming(): void {
  isOver = true;
  warming?.abort();
}
