/** Functions of one argument for four lanes of WebAssembly SIMD128. Call these outside of loops: constants go into locals there. */
import { laneCode, wasmLanes } from '../activations/activations.wasm.ts';
import type { Func, V128 } from '../wasm/emitter.ts';
import { moreWasmLanes } from './elementwise/lanes.wasm.ts';
import { logarithm } from './elementwise/math/exponential.ts';
import { expOrZero } from './exp.ts';

export const expCode = (f: Func): ((x: V128) => V128) => laneCode(f, wasmLanes, expOrZero);

export const logCode = (f: Func): ((x: V128) => V128) => laneCode(f, moreWasmLanes, logarithm);
