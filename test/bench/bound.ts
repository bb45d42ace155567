/** Products of one matrix that are bound once and run many times, where the backend has them. */
import type { ArenaHandle } from '../../packages/core/src/backends/arena.ts';
import type { PreparedWeights } from '../../packages/core/src/backends/backend.ts';
import type { Device } from '../../packages/core/src/backends/device.ts';

type Binding = Pick<Device<ArenaHandle>, 'bind' | 'run'>;

/** @returns what runs the call; undefined for a backend that cannot bind */
export function boundProduct(
  backend: object,
  matrix: PreparedWeights,
  M: number,
  x: ArenaHandle,
  out: ArenaHandle,
): (() => void) | undefined {
  const device = backend as Partial<Binding>;
  if (typeof device.bind !== 'function' || typeof device.run !== 'function') return undefined;
  const { bind, run } = device as Binding;
  const call = bind.call(backend, { kind: 'product', matrices: [matrix], M }, [
    x,
    undefined,
    undefined,
    undefined,
    out,
  ]);
  return () => run.call(backend, call);
}
