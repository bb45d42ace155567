/** What runs convolutions on a device. Only pages with convolutions that MSD takes download it. */
import type { Host } from '../kernels/host.ts';
import type { ModelReport } from '../report.ts';
import type { ConvolutionCalls } from './calls.ts';

type Kernels = typeof import('./calls.ts');

let kernels: Kernels | undefined;
let loading: Promise<void> | undefined;

/** Until this has resolved, convolutions with windows run in operations of tfjs. */
export function prepareConvolutions(): Promise<void> {
  loading ??= import('./calls.ts').then((loaded) => {
    kernels = loaded;
  });
  return loading;
}

/** Has a model asked for it? */
export const convolutionsPending = (): Promise<void> | undefined => loading;

/** `undefined` if MSD has no kernels for convolutions there, or not yet. */
export function convolutionCalls(host: Host | undefined): ConvolutionCalls | undefined {
  if (!kernels) void prepareConvolutions();
  return kernels?.callsOf(host);
}

/** Does a model run some? */
export const hasConvolutions = ({ nodes }: Pick<ModelReport, 'nodes'>): boolean =>
  nodes.some(({ msdOp }) => /^Msd\w*Conv\dD$/.test(msdOp ?? ''));
