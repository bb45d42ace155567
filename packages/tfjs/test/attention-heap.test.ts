/** @msd/core's own suite of attention, on the heap of tfjs's wasm backend: pages, tables and scratch come from its _malloc. */

import { createWasmBackend } from '../../core/src/backends/create.ts';
import { attentionConformance } from '../../core/test/attention-conformance.ts';
import { heapOf, type WasmTfBackend } from '../src/kernels/heap-host.ts';
import { tf, useBackend } from './tf.ts';

attentionConformance('wasm, on tfjs’s heap', async () => {
  await useBackend('wasm');
  return createWasmBackend({ heap: heapOf(tf.backend() as unknown as WasmTfBackend)! });
});
