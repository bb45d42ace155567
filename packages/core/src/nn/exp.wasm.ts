/** exp.ts for four lanes of WebAssembly SIMD128. */
import { laneCode } from '../activations/activations.wasm.ts';
import type { Func, V128 } from '../wasm/emitter.ts';
import { expOrZero } from './exp.ts';

/** Call it outside of loops: constants go into locals there. */
export const expCode = (f: Func): ((x: V128) => V128) => laneCode(f, expOrZero);
