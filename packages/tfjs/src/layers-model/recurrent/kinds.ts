/** The recurrent classes of tfjs-layers that MSD takes: LSTM, GRU, SimpleRNN, and their cells in RNN and StackedRNNCells. */
import type { LayersNamespace } from '../../peers.ts';
import type { RecurrentId } from '../../recurrent/gates.ts';
import type { Tensor } from '../../tf.ts';
import type { MatrixView } from '../../weights/view.ts';
import type { LayerInternals, LayerVariable } from '../kinds.ts';

export interface RecurrentKind {
  readonly id: RecurrentId;
  /** Class names in tfjs-layers, and those of MSD's. */
  readonly stock: string;
  readonly stockCell: string;
  readonly msd: string;
  readonly msdCell: string;
  readonly gates: number;
  /** Matrices that the recurrent kernel is kept as: a GRU multiplies the state, and what its reset gate leaves of it. */
  readonly parts: number;
  sampleCell(layers: LayersNamespace['layers']): object;
  sample(layers: LayersNamespace['layers']): object;
}

const kind = (id: RecurrentId, name: string, gates: number, parts: number, make: 'lstm' | 'gru' | 'simpleRNN') => ({
  id,
  stock: name,
  stockCell: `${name}Cell`,
  msd: `Msd${name}`,
  msdCell: `Msd${name}Cell`,
  gates,
  parts,
  sample: (layers: LayersNamespace['layers']): object => layers[make]({ units: 1, name: 'msd' }),
  sampleCell: (layers: LayersNamespace['layers']): object => layers[`${make}Cell`]({ units: 1, name: 'msd' }),
});

export const RECURRENT_KINDS: readonly RecurrentKind[] = /* @__PURE__ */ (() => [
  kind('lstm', 'LSTM', 4, 1, 'lstm'),
  kind('gru', 'GRU', 3, 3, 'gru'),
  kind('simple', 'SimpleRNN', 1, 1, 'simpleRNN'),
])();

/** The two weights that become integers, as files name them. */
export const LEAVES = ['kernel', 'recurrent_kernel'] as const;
export type Leaf = (typeof LEAVES)[number];

/** What of a cell MSD looks at. */
export interface CellInternals extends LayerInternals {
  units: number;
  kernel: LayerVariable;
  recurrentKernel: LayerVariable;
  recurrentActivation?: { getClassName(): string; apply(x: Tensor): Tensor } | null;
  dropout: number;
  recurrentDropout: number;
  dropoutFunc?: (x: Tensor, rate: number) => Tensor;
  dropoutMask: Tensor | Tensor[] | null;
  recurrentDropoutMask: Tensor | Tensor[] | null;
}

/** What of a recurrent layer MSD looks at. */
export interface RecurrentInternals extends LayerInternals {
  cell: CellInternals;
  returnSequences: boolean;
  returnState: boolean;
  goBackwards: boolean;
  stateful: boolean;
  states_: Tensor[] | null;
  resetStates(states?: Tensor[], training?: boolean): void;
}

/** How a weight lies once its parts are {@link apart}. */
export function viewOf({ gates, parts }: RecurrentKind, leaf: Leaf, [K, N]: readonly number[]): MatrixView {
  if (leaf === 'kernel' || parts === 1) return { kind: 'matrix', batchShape: [], N: N!, K: K!, transposed: false };
  return { kind: 'matrix', batchShape: [parts], N: N! / gates, K: K!, transposed: false };
}

/** Why such weights are left alone, whatever they hold. */
export function whyMisshapen(
  { gates }: RecurrentKind,
  kernel: readonly number[],
  recurrentKernel: readonly number[],
): string | undefined {
  const [units = 0, width = 0] = recurrentKernel;
  const fits =
    kernel.length === 2 &&
    recurrentKernel.length === 2 &&
    !kernel.includes(0) &&
    units > 0 &&
    width === gates * units &&
    kernel[1] === width;
  return fits ? undefined : `kernels of shapes [${kernel}] and [${recurrentKernel}]`;
}

/** The kind of a layer, or of a cell, that is stock's or MSD's. */
export const recurrentNamed = (className: unknown): RecurrentKind | undefined =>
  RECURRENT_KINDS.find(({ stock, msd }) => stock === className || msd === className);

export const cellNamed = (className: unknown): RecurrentKind | undefined =>
  RECURRENT_KINDS.find(({ stockCell, msdCell }) => stockCell === className || msdCell === className);
