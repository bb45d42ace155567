/** Code that only some pages need: fetched once, when it is first asked for. */
export interface OnDemand<M> {
  /** Resolves when it is there. */
  readonly prepare: () => Promise<void>;
  /** `undefined` until somebody asks for it. */
  readonly pending: () => Promise<void> | undefined;
  /** `undefined` until it is there, which asks for it. */
  readonly get: () => M | undefined;
}

/** @param load an `import()`, spelt where bundlers see it */
export function onDemand<M>(load: () => Promise<M>): OnDemand<M> {
  let code: M | undefined;
  let loading: Promise<void> | undefined;
  const prepare = (): Promise<void> => {
    loading ??= load().then((loaded) => {
      code = loaded;
    });
    return loading;
  };
  return {
    prepare,
    pending: () => loading,
    get: () => {
      if (!code) void prepare();
      return code;
    },
  };
}
