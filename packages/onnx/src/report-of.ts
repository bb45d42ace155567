/** Finds the report of a session, or the reports of a model or pipeline that has several. */
import type { MsdHandler } from './execute/session.ts';
import type { SessionReport } from './report.ts';

/** A model of Transformers.js, or one of its pipelines. */
export type ModelWithSessions = { readonly sessions: object } | { readonly model: { readonly sessions: object } };

/**
 * The reports of all sessions of a Transformers.js model or pipeline.
 *
 * @returns reports by the names of the sessions in Transformers.js ('model', 'decoder_model_merged', …). Sessions that MSD did not
 * create are not among them.
 */
export function reportOf(model: ModelWithSessions): Record<string, SessionReport>;
/**
 * The report of a session: what ran where, and why.
 *
 * @returns `undefined` for sessions that MSD did not create.
 * @throws {@link TypeError} for `undefined`, and for a promise that nobody awaited: both would read as if MSD had done nothing
 */
export function reportOf(session: object): SessionReport | undefined;
export function reportOf(from: object): SessionReport | Record<string, SessionReport> | undefined {
  if (!from || 'then' in Object(from))
    throw new TypeError(
      `reportOf: expected a pipeline, model or session, got ${from ? 'a promise: await it first' : String(from)}.`,
    );
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
 * The report of a session, from now on with how long its last run should have taken, and why: `report.expected`, to be compared with
 * `lastRunMilliseconds`. The first call loads `@msd/core/theory` and measures this machine for a quarter of a second.
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
