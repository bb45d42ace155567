/** Everything that exists only as long as one device. */

import type { GpuFeatures } from '../../wgsl/wgsl.ts';
import type { GpuDevice, GpuLostInfo } from './api.ts';
import { CodeTables, GpuScratch, Params, Readbacks } from './buffers.ts';
import { Pipelines } from './pipelines.ts';
import { Recorder } from './recorder.ts';
import { probeFeatures } from './request.ts';

export interface Live {
  readonly device: GpuDevice;
  readonly features: GpuFeatures;
  readonly pipelines: Pipelines;
  readonly params: Params;
  readonly codeTables: CodeTables;
  readonly scratch: GpuScratch;
  readonly readbacks: Readbacks;
  readonly recorder: Recorder;
  /** Changes when something that a call has bound may be gone: the call is then described again. */
  readonly epoch: number;
  lost: GpuLostInfo | undefined;
}

export async function start(device: GpuDevice, wanted: Partial<GpuFeatures>): Promise<Live> {
  const has = await probeFeatures(device);
  const recorder = new Recorder(device);
  const [pipelines, scratch] = [new Pipelines(device), new GpuScratch(device, recorder)];
  const live: Live = {
    device,
    features: {
      packedDot: has.packedDot && wanted.packedDot !== false,
      subgroups: has.subgroups && wanted.subgroups !== false,
    },
    pipelines,
    params: new Params(device),
    codeTables: new CodeTables(device),
    scratch,
    readbacks: new Readbacks(device),
    recorder,
    get epoch() {
      return scratch.generation + pipelines.generation;
    },
    lost: undefined,
  };
  void device.lost.then((info) => {
    live.lost = info;
  });
  return live;
}

/** Bytes that one storage binding of the device may have. */
export const bindingLimit = ({ limits }: GpuDevice): number =>
  Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);

/** What a device refused. */
export interface Refusal {
  readonly message: string;
  readonly outOfMemory: boolean;
}

/** Error scopes around what happens until `end`, which gives the first error. */
export function watch(device: GpuDevice) {
  device.pushErrorScope('validation');
  device.pushErrorScope('out-of-memory');
  let ended: Promise<Refusal | undefined> | undefined;
  return {
    end() {
      ended ??= Promise.all([device.popErrorScope(), device.popErrorScope()]).then(
        ([memory, validation]) => {
          const error = memory ?? validation;
          return error ? { message: error.message, outOfMemory: memory !== null } : undefined;
        },
        () => undefined, // a lost device: reported as that
      );
      return ended;
    },
  };
}

/**
 * An object that a device refused is invalid from then on, and may be in a cache: so the next call makes everything
 * again.
 */
export function forgetRefused({ pipelines, params, codeTables, scratch }: Live, { outOfMemory }: Refusal): void {
  pipelines.clear();
  if (!outOfMemory) return;
  params.clear();
  codeTables.clear();
  scratch.clear();
}
