/** A decoder's matrices, read without a session: prepared by @msd/core, and multiplied one after the other. */
import { type ArenaHandle, createThreadedBackend, type PreparedWeights } from '@msd/core';
import { Program, packKernels, prepareRows, type Slot, type Step, type WeightRows } from '@msd/core/program';
import { BLOCK_SIZE, type DecoderShape } from '../models/decoder.ts';
import type { DecoderFiles, Stretch } from '../models/decoder-files.ts';
import type { StretchReader } from './stretches.ts';

type Backend = Awaited<ReturnType<typeof createThreadedBackend>>;

export interface Matrices {
  readonly backend: Backend;
  /** In the graph's order: q, k, v, o, gate, up, down of each layer, then the head. */
  readonly prepared: readonly PreparedWeights[];
  /** Bytes that they have in the file. */
  readonly fileBytes: number;
}

/** @param reader is closed */
export async function prepareMatrices(
  { matrices }: Pick<DecoderFiles, 'matrices'>,
  threads: number,
  reader: StretchReader,
): Promise<Matrices> {
  const fileBytes = matrices.reduce((sum, { data, scales }) => sum + data.length + scales.length, 0);
  const backend = await createThreadedBackend({ threads, initialBytes: Math.ceil(1.02 * fileBytes) + 2 ** 20 });
  let staged = new Uint8Array(0);
  const prepared = matrices.map(({ N, K, data, scales }) => {
    const shape = { format: 'int4', N, K, blockSize: BLOCK_SIZE } as const;
    const source: WeightRows = {
      ...{ ...shape, storedZeroPoints: false, scale: 'f32' },
      rows(n, count, into) {
        const rowsOf = ({ file, offset, length }: Stretch): Stretch => {
          const row = length / N;
          return { file, offset: offset + n * row, length: count * row };
        };
        const wanted = rowsOf(scales);
        if (staged.length < wanted.length) staged = new Uint8Array(wanted.length);
        const steps = reader.read(wanted, staged);
        return {
          ...{ ...shape, N: count },
          data: reader.view(rowsOf(data)) ?? reader.read(rowsOf(data), into),
          scales: new Float32Array(steps.buffer, steps.byteOffset, steps.byteLength / 4),
        };
      },
    };
    return prepareRows(backend, source, packKernels);
  });
  reader.close();
  return { backend, prepared, fileBytes };
}

/** Inputs of the calls of a layer, by the number of the matrix that they start with, and the result that is the next input. */
const LAYER = [
  { first: 0, count: 3, next: 0 }, // q, k, v; o takes what attention would make of q
  { first: 3, count: 1, next: 3 },
  { first: 4, count: 2, next: 4 }, // gate, up
  { first: 6, count: 1, next: 6 },
] as const;
const PER_LAYER = 7;

/**
 * All products of a model for `rows` tokens as one program with nothing between them: what a decoder would cost if norms,
 * attention and everything else took no time. Matrices of one input are one call, as a session has them.
 *
 * @returns runs it
 */
export function productChain({ backend, prepared }: Matrices, { layers }: DecoderShape, rows: number): () => void {
  const slots: Slot<ArenaHandle>[] = [];
  const steps: Step[] = [];
  const slot = (columns: number, use: Pick<Slot<ArenaHandle>, 'isInput' | 'isOutput'> = {}): number =>
    slots.push({ byteLength: 4 * rows * columns, ...use }) - 1;
  const multiply = (x: number, matrices: readonly PreparedWeights[], isOutput: boolean): number[] => {
    const outs = matrices.map(({ N }) => slot(N, { isOutput }));
    steps.push({
      kind: 'work',
      work: { kind: 'product', matrices, M: rows },
      operands: [x, ...outs.flatMap((out) => [undefined, undefined, undefined, out])],
      writes: outs.map((_, i) => 4 * (i + 1)),
    });
    return outs;
  };
  const input = slot(prepared[0]!.K, { isInput: true });
  let x = input;
  for (let layer = 0; layer < layers; layer++)
    for (const { first, count, next } of LAYER) {
      const from = PER_LAYER * layer + first;
      x = multiply(x, prepared.slice(from, from + count), false)[next - first]!;
    }
  multiply(x, prepared.slice(PER_LAYER * layers), true);
  const program = new Program<ArenaHandle>(backend, slots, steps);
  program.bind(backend.alloc(program.byteLength, 'chain'));
  const values = Float32Array.from({ length: rows * prepared[0]!.K }, (_, i) => Math.sin(i * 12.9898) * 3);
  return () => {
    backend.write(program.handle(input), values); // its place is used again further down
    program.run();
  };
}
