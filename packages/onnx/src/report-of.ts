/** Reports, from whatever holds a session. */
import type { MsdHandler } from './execute/session.ts';
import type { SessionReport } from './report.ts';

/** A model of Transformers.js, or one of its pipelines. */
export type ModelWithSessions = { readonly sessions: object } | { readonly model: { readonly sessions: object } };

/**
 * What the sessions of a model or pipeline of Transformers.js say about themselves.
 *
 * @returns reports by the sessions' names in Transformers.js ('model', 'decoder_model_merged', …). Sessions that MSD did not create are
 * missing.
 */
export function reportOf(model: ModelWithSessions): Record<string, SessionReport>;
/**
 * What a session says about itself.
 *
 * @returns `undefined` for sessions that MSD did not create.
 */
export function reportOf(session: object): SessionReport | undefined;
export function reportOf(from: object): SessionReport | Record<string, SessionReport> | undefined {
  const models = modelsOf(from);
  if (models.length === 0) return (from as { readonly handler?: Partial<MsdHandler> }).handler?.report;
  const reports: Record<string, SessionReport> = {};
  for (const { prefix, sessions } of models)
    for (const [name, session] of Object.entries(sessions)) {
      const report = reportOf(session as object);
      if (report) reports[prefix + name] = report;
    }
  return reports;
}

/**
 * What a session says about itself, from now on with what its last run was expected to take, and why: `report.expected`, beside
 * `lastRunMilliseconds`. The models of `@msd/core/theory` are fetched, and this machine's peaks measured for a quarter of a second, once.
 *
 * @param session of `InferenceSession.create`, also one in a Worker
 * @returns `undefined` for sessions that MSD did not create; the plain report where ONNX Runtime runs the model whole
 * @example
 * ```ts
 * await session.run(feeds);
 * console.log(formatReport(await explain(session)));
 * ```
 */
export async function explain(session: object): Promise<SessionReport | undefined> {
  const { handler } = session as { readonly handler?: Partial<MsdHandler> };
  return handler?.explain ? handler.explain() : handler?.report;
}

interface Sessions {
  readonly prefix: string;
  readonly sessions: object;
}

/** Models that a pipeline may have beside `model` keep their own name in front: 'vocoder/model'. */
function modelsOf(from: object): Sessions[] {
  const sessionsOf = (value: unknown): object | undefined => {
    const { sessions } = (value ?? {}) as { readonly sessions?: unknown };
    return typeof sessions === 'object' && sessions !== null ? sessions : undefined;
  };
  const own = sessionsOf(from);
  if (own) return [{ prefix: '', sessions: own }];
  return Object.entries(from).flatMap(([name, value]) => {
    const sessions = sessionsOf(value);
    return sessions ? [{ prefix: name === 'model' ? '' : `${name}/`, sessions }] : [];
  });
}
