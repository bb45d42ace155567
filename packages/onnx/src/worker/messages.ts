/** What a page and the Worker of its session say to each other. */
import { BackendUnavailableError, UnsupportedError } from '@msd/core';
import { AbortError, ForeignRunError, messageOf, OnnxFormatError, ReadError, SessionStateError } from '../errors.ts';
import type { MsdOptions } from '../execute/options.ts';
import type { LoadProgress } from '../execute/progress.ts';
import type { OrtData, OrtMetadata } from '../ort.ts';
import type { SessionReport } from '../report.ts';

/** A tensor on its way: its elements, or the number of one that the Worker keeps. */
export interface SentTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data?: OrtData;
  readonly kept?: number;
}

/** What is asked, by name. */
export interface Questions {
  readonly create: {
    readonly model: unknown;
    readonly options: object;
    readonly configured: MsdOptions;
    readonly wasm: object | undefined;
    /** Outputs that stay; absent: those that are called present. */
    readonly keep: readonly string[] | undefined;
    readonly isWatched: boolean;
  };
  readonly run: {
    readonly feeds: Readonly<Record<string, SentTensor>>;
    readonly fetches: readonly string[] | undefined;
    readonly options: object;
  };
  /** Elements of a tensor that is kept. */
  readonly read: number;
  /** With what runs are expected to take? */
  readonly report: boolean;
  /** Starts or ends a profile. */
  readonly profile: boolean;
  readonly release: undefined;
}

/** What is answered. */
export interface Answers {
  readonly create: Signature;
  readonly run: { readonly results: Readonly<Record<string, SentTensor>>; readonly report: SessionReport | undefined };
  readonly read: OrtData;
  readonly report: SessionReport | undefined;
  readonly profile: SessionReport | undefined;
  readonly release: SessionReport | undefined;
}

/** A session that was created. */
export interface Signature {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly inputMetadata: readonly OrtMetadata[];
  readonly outputMetadata: readonly OrtMetadata[];
  readonly report: SessionReport | undefined;
}

export type Kind = keyof Questions;

/** To the Worker. The last two are not answered. */
export type Asked =
  | { readonly [K in Kind]: { readonly id: number; readonly kind: K; readonly question: Questions[K] } }[Kind]
  | { readonly drop: number }
  | { readonly stop: number };

/** From the Worker. */
export type Answered =
  | { readonly id: number; readonly answer: Answers[Kind] }
  | { readonly id: number; readonly error: SentError }
  | { readonly progress: LoadProgress };

/** An error on its way. */
export interface SentError {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
  readonly cause?: SentError;
}

const CLASSES = {
  TypeError,
  RangeError,
  UnsupportedError,
  BackendUnavailableError,
  OnnxFormatError,
  SessionStateError,
  ForeignRunError,
  AbortError,
  ReadError,
};

/** @param depth of causes, which may be many, or go round */
export function sentError(error: unknown, depth = 3): SentError {
  const { name = 'Error', code, cause } = (error ?? {}) as { name?: string; code?: unknown; cause?: unknown };
  return {
    name,
    message: messageOf(error),
    ...(typeof code === 'string' && { code }),
    ...(cause !== undefined && depth > 0 && { cause: sentError(cause, depth - 1) }),
  };
}

/** An error of the same class; of one that is not known here, an Error of the same name. */
export function receivedError({ name, message, code, cause }: SentError): Error {
  const isKnown = Object.hasOwn(CLASSES, name);
  const Class = isKnown ? CLASSES[name as keyof typeof CLASSES] : Error;
  const error = new Class(message, cause && { cause: receivedError(cause) });
  return Object.assign(error, !isKnown && { name }, code !== undefined && { code });
}

/**
 * An array to send, and what of it changes hands. A view of a part, or of shared memory, is sent as a copy: whoever gets a view gets
 * all that lies behind it.
 *
 * @param isGiven may the sender lose it?
 */
export function sentData(data: OrtData, isGiven: boolean, moved: Set<ArrayBuffer>): OrtData {
  if (!ArrayBuffer.isView(data)) return data;
  const { buffer, byteLength } = data;
  const isWhole = buffer instanceof ArrayBuffer && buffer.byteLength === byteLength;
  const sent = isWhole ? data : (data as Uint8Array).slice();
  if (isGiven || !isWhole) moved.add(sent.buffer as ArrayBuffer);
  return sent;
}
