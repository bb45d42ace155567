// Compiled (never run) in an app outside the workspace by several TypeScript versions at skipLibCheck: false.
import { createBackend, type PreparedWeights, quantizeWeights } from '@msd/core';
import { type Elementwise, elementwise } from '@msd/core/nn';
import { type MachinePeaks, measurePeaks } from '@msd/core/peaks';
import { type Latency, machineOf, severalPasses } from '@msd/core/theory';
import type { GpuBinding, GpuDevice, WebGpuBackend } from '@msd/core/webgpu';
import { InferenceSession } from '@msd/onnx';
import { type Inspection, inspectModel, type Work } from '@msd/onnx/inspect';
import taken, { InferenceSession as Taken } from '@msd/onnx/ort-web';
import { env } from '@msd/onnx/ort-web/wasm';
import { configure, formatReport, type MsdProvider, register, reportOf } from '@msd/onnx/register';
import loader from '@msd/onnx/turbopack';
import msd from '@msd/onnx/vite';
import { writeModel } from '@msd/onnx/write';
import * as ort from 'onnxruntime-web';

export async function example(model: Uint8Array): Promise<string> {
  register(ort, { components: 2 });
  configure({ kvCache: 'int8' });
  const provider: MsdProvider = { name: 'msd', components: 1 };
  const first = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [{ name: 'msd', components: 1 }],
    signal: AbortSignal.timeout(1000),
  });
  const other = await InferenceSession.create(writeModel({ graph: { nodes: [], inputs: [], outputs: [] } }));
  const backend = await createBackend('wasm', { debug: true });
  const prepared: PreparedWeights = backend.prepare(
    quantizeWeights(new Float32Array(64), { N: 2, K: 32, format: 'int4' }),
  );
  const y: Float32Array = backend.matmul(new Float32Array(32), prepared, { components: 2 });
  return `${formatReport(reportOf(first))} ${session.report?.nodes.length} ${other.report?.foreignRunsPerCall} ${y.length}`;
}

export async function instead(model: Uint8Array): Promise<ort.InferenceSession> {
  env.wasm.numThreads = 1;
  const session: ort.InferenceSession = await Taken.create(model, { executionProviders: ['wasm'] });
  await session.run({ x: new taken.Tensor('float32', [1], [1]) });
  return session;
}

export function expected(peaks: MachinePeaks): Latency {
  return severalPasses(machineOf(peaks), { M: 1, N: 64, K: 64 }, { bytes: 1, unit: 'int8' }, 2);
}

export const plugin = msd({ cpuOnly: true });
export const loaded: string = loader('');

export async function onGpu(device: GpuDevice, x: GpuBinding): Promise<number> {
  const backend: WebGpuBackend = await createBackend('webgpu', { device, features: { subgroups: false } });
  const prepared = await backend.prepare(quantizeWeights(new Float32Array(64), { N: 2, K: 32, format: 'int4' }));
  const y: Float32Array = await backend.matmul(x, prepared, { components: 1 });
  return y.length;
}

export function gate(): readonly number[] {
  const op: Elementwise = {
    nodes: [
      { fn: 'Silu', args: [0] },
      { fn: 'Mul', args: [2, 1] },
    ],
    outputs: [3],
  };
  const [{ dims }] = elementwise.infer(op, [
    { dtype: 'f32', dims: [1, 4864] },
    { dtype: 'f32', dims: [4864] },
  ]);
  return dims;
}

export async function look(url: string): Promise<number> {
  const seen: Inspection = await inspectModel(url, { maxBytes: 1e6 });
  const works: readonly Work[] = seen.work((_input, axis, name) => (axis === 0 || name === 'batch' ? 1 : 128));
  const { dotGmacs }: MachinePeaks = measurePeaks();
  return works.reduce((sum, { macs }) => sum + macs, 0) / dotGmacs;
}
