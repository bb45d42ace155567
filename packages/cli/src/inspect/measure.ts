/** Measures a model on this machine, in a thread of its own. */
import type { Measured, MeasureRequest } from './measure-worker.ts';
import { inThread } from './thread.ts';

/** @throws `UserError` when the model cannot be created or run, or on Ctrl-C */
export function measure(request: MeasureRequest, signal: AbortSignal): Promise<Measured> {
  const buffers = [request.model, ...request.externalData.map(({ data }) => data)].flatMap((each) =>
    typeof each === 'string' ? [] : [each.buffer as ArrayBuffer],
  );
  return inThread('measure-worker', request, signal, buffers);
}
