/** What a load that fails has made by then: tensors and variables that nobody could dispose of. */
import type { Tensor, TfNamespace } from './tf.ts';

/** What of tfjs's engine is looked at. */
interface Scopes {
  readonly state: {
    readonly activeScope: { readonly track: readonly Tensor[] };
    readonly registeredVariables: Readonly<Record<string, Tensor>>;
  };
  startScope(name: string): void;
  endScope(kept?: readonly Tensor[]): void;
}

const scopesOf = (tf: TfNamespace): Scopes => tf.engine() as unknown as Scopes;

/** Tensors that `work` makes stay if it succeeds, and are disposed of if it throws. */
export function cleanly<T>(tf: TfNamespace, work: () => T): T {
  const scopes = scopesOf(tf);
  let made: readonly Tensor[] = [];
  scopes.startScope('load');
  try {
    const result = work();
    made = [...scopes.state.activeScope.track];
    return result;
  } finally {
    scopes.endScope(made);
  }
}

/**
 * The same for stock's loader of layers models. It builds a model in one go, in the microtask that follows the call of its handler:
 * of those queued before and behind it, one runs right before, the other right after, and nothing else of the page in between.
 *
 * @param load calls the loader, with a handler that answers at once
 */
export async function buildCleanly<T>(tf: TfNamespace, load: () => Promise<T>): Promise<T> {
  const scopes = scopesOf(tf);
  const { state } = scopes;
  let known = new Set<Tensor>();
  let made: readonly Tensor[] = [];
  queueMicrotask(() => {
    known = new Set(Object.values(state.registeredVariables));
    scopes.startScope('load');
  });
  const loading = load();
  queueMicrotask(() => {
    const tensors = [...state.activeScope.track];
    scopes.endScope(tensors);
    made = [...tensors, ...Object.values(state.registeredVariables).filter((variable) => !known.has(variable))];
  });
  try {
    return await loading;
  } catch (error) {
    for (const tensor of made) if (!tensor.isDisposed) tensor.dispose();
    throw error;
  }
}
