import type { Host, Memory } from './host.ts';

/** What is kept of each host whose tensors lie in a memory, made when it is first asked for; `undefined` of other hosts. */
export function perHost<T>(make: (memory: Memory) => T): (host: Host | undefined) => T | undefined {
  const known = new WeakMap<Host, T>();
  return (host) => {
    if (!host?.memory) return undefined;
    const value = known.get(host) ?? make(host.memory);
    known.set(host, value);
    return value;
  };
}
