/** Code that some graphs need is fetched before they run: until then their nodes would be operations of tfjs. */
import { prepareConvolutions } from '../convolution/kernels.ts';
import { prepareRecurrent } from '../recurrent/layer.ts';
import { hasGates } from './recurrent/run.ts';
import type { Topology } from './topology.ts';
import { hasConvolutionNodes } from './window-attr.ts';

export async function prepareKernels(topology: Topology): Promise<void> {
  await Promise.all([hasConvolutionNodes(topology) && prepareConvolutions(), hasGates(topology) && prepareRecurrent()]);
}
