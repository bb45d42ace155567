/**
 * What MSD adds to the types of every module of the ONNX Runtime family. They all have theirs from onnxruntime-common, of which an app may
 * have two copies: Transformers.js finds the one, onnxruntime-web the other.
 */
import type {} from 'onnxruntime-common';
import type { MsdProvider } from './execute/options.ts';
import type { AbortSignalLike } from './read/fetch.ts';
import type { SessionReport } from './report.ts';

declare module 'onnxruntime-common' {
  namespace InferenceSession {
    interface ExecutionProviderOptionMap {
      msd: MsdProvider;
    }
    interface SessionOptions {
      /** Stops the creation of a session of MSD. */
      readonly signal?: AbortSignalLike | undefined;
    }
    interface RunOptions {
      /** Stops a run of a session of MSD. */
      readonly signal?: AbortSignalLike | undefined;
    }
  }
  interface InferenceSession {
    /** What ran where; absent for sessions that MSD did not create. */
    readonly report?: SessionReport | undefined;
  }
}

declare module 'onnxruntime-web' {
  namespace InferenceSession {
    interface ExecutionProviderOptionMap {
      msd: MsdProvider;
    }
    interface SessionOptions {
      /** Stops the creation of a session of MSD. */
      readonly signal?: AbortSignalLike | undefined;
    }
    interface RunOptions {
      /** Stops a run of a session of MSD. */
      readonly signal?: AbortSignalLike | undefined;
    }
  }
  interface InferenceSession {
    /** What ran where; absent for sessions that MSD did not create. */
    readonly report?: SessionReport | undefined;
  }
}
