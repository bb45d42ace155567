/** What runs convolutions on a device. Only pages with convolutions that MSD takes download it. */
import type { Host } from '../kernels/host.ts';
import { onDemand } from '../on-demand.ts';
import type { ModelReport } from '../report.ts';
import type { ConvolutionCalls } from './calls.ts';

const kernels = /* @__PURE__ */ onDemand(() => import('./calls.ts'));

/** Until this has resolved, convolutions with windows run in operations of tfjs. */
export const prepareConvolutions = (): Promise<void> => kernels.prepare();

/** Has a model asked for it? */
export const convolutionsPending = (): Promise<void> | undefined => kernels.pending();

/** `undefined` if MSD has no kernels for convolutions there, or not yet. */
export const convolutionCalls = (host: Host | undefined): ConvolutionCalls | undefined => kernels.get()?.callsOf(host);

/** Does a model run some? */
export const hasConvolutions = ({ nodes }: Pick<ModelReport, 'nodes'>): boolean =>
  nodes.some(({ msdOp }) => /^Msd\w*Conv\dD$/.test(msdOp ?? ''));
