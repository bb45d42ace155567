/** What the engine can do, asked with modules of our own emitter. */
import { BackendUnavailableError } from '../errors.ts';
import { Module, v128 } from '../wasm/emitter.ts';

/** @throws {@link BackendUnavailableError} where WebAssembly or its SIMD128 is missing */
export function requireSimd(): void {
  const probe = new Module();
  probe.func('probe', {}, (f) => {
    f.let(v128.const16(0));
  });
  if (typeof WebAssembly !== 'object' || !WebAssembly.validate(probe.toBytes()))
    throw new BackendUnavailableError(
      "createBackend: this engine has no WebAssembly SIMD128. Use device 'reference', or a browser from 2021 or later.",
    );
}
