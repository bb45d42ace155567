/** All that lives and dies with one device. */
import type { GpuDevice, GpuErrorFilter, GpuErrorLike, GpuLostInfo } from './api.ts';
import { CodeTables, GpuScratch, Params, Readbacks } from './buffers.ts';
import { probeFeatures } from './device.ts';
import { Pipelines } from './pipelines.ts';
import type { GpuFeatures } from './wgsl.ts';

export interface Live {
  readonly device: GpuDevice;
  readonly features: GpuFeatures;
  readonly pipelines: Pipelines;
  readonly params: Params;
  readonly codeTables: CodeTables;
  readonly scratch: GpuScratch;
  readonly readbacks: Readbacks;
  lost: GpuLostInfo | undefined;
}

export async function start(device: GpuDevice, wanted: Partial<GpuFeatures>): Promise<Live> {
  const has = await probeFeatures(device);
  const live: Live = {
    device,
    features: {
      packedDot: has.packedDot && wanted.packedDot !== false,
      subgroups: has.subgroups && wanted.subgroups !== false,
    },
    pipelines: new Pipelines(device),
    params: new Params(device),
    codeTables: new CodeTables(device),
    scratch: new GpuScratch(device),
    readbacks: new Readbacks(device),
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

/** Error scopes around what happens until `end`, which gives the first error. */
export function watch(device: GpuDevice) {
  const filters: readonly GpuErrorFilter[] = ['validation', 'out-of-memory'];
  for (const filter of filters) device.pushErrorScope(filter);
  let ended: Promise<GpuErrorLike | undefined> | undefined;
  return {
    end() {
      ended ??= Promise.all(filters.map(() => device.popErrorScope())).then(
        (errors) => errors.find((error) => error !== null) ?? undefined,
        () => undefined, // a lost device: reported as that
      );
      return ended;
    },
  };
}
