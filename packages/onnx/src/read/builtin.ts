/** Node's builtins (Deno and Bun have the same), asked for at run time and by name, so that bundlers for browsers see no import. */

interface ProcessLike {
  getBuiltinModule?(name: string): unknown;
  readonly versions?: { readonly node?: string };
}

/** @returns `undefined` where there is none */
export function builtin<T>(name: string): T | undefined {
  const { process } = globalThis as { process?: ProcessLike };
  if (!process?.versions?.node) return undefined;
  return process.getBuiltinModule?.(name) as T | undefined;
}
