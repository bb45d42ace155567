/** What a caller may say with a run: checked as ONNX Runtime does, and what MSD adds. */
import type { OrtRunOptions } from '../ort.ts';
import type { AbortSignalLike } from '../read/fetch.ts';
import { checkSignal, Watch } from './abort.ts';
import { checkExtra, checkLogSeverity } from './session-options.ts';

/** Options of a run that onnxruntime-web's types do not know, beside its own. */
export interface MsdRunOptions {
  /** Stops the run: it rejects with an `AbortError`, and the session goes on with the next one. */
  readonly signal?: AbortSignalLike;
  /** True, now or while the run lasts: the same. Of ONNX Runtime, which looks at it once. */
  readonly terminate?: boolean;
}

/** The options of a run, apart. */
export interface RunRequest {
  /** For ONNX Runtime. */
  readonly ort: OrtRunOptions;
  /** Absent: nobody can stop the run. */
  readonly watch: Watch | undefined;
}

const NONE: RunRequest = { ort: {}, watch: undefined };

/**
 * @throws `TypeError` for a wrong kind, `RangeError` for a wrong value, {@link AbortError} for a run that is stopped already
 */
export function parseRunOptions(options: MsdRunOptions): RunRequest {
  let isEmpty = true;
  for (const _ in options) isEmpty = false;
  if (isEmpty) return NONE;
  const { signal, terminate, ...ort } = options as MsdRunOptions & Readonly<Record<string, unknown>>;
  const { logSeverityLevel, logVerbosityLevel, extra } = ort;
  checkLogSeverity('run', logSeverityLevel);
  if (logVerbosityLevel !== undefined && !Number.isInteger(logVerbosityLevel)) {
    throw new RangeError(
      `run: option 'logVerbosityLevel', expected a whole number, got ${String(logVerbosityLevel)}: log verbosity level is not valid.`,
    );
  }
  checkExtra('run', extra);
  const checked = checkSignal('run', signal);
  if (checked === undefined && !('terminate' in options)) return { ort, watch: undefined };
  // `options` is the caller's own object: what is set while the run lasts is seen.
  const watch = new Watch('run', checked, () => Boolean(options.terminate));
  watch.check();
  return { ort, watch };
}
