/** Codes of 2 bits as codes of 4, computed as they are read. */
import { UINT8 } from '../data-types.ts';
import { partReader, type TensorRef } from '../read/tensor.ts';
import { computedTensor } from './computed.ts';

/** @param tensor rows of codes, each from a byte on @returns uint8 [rows, ceil(columns / 2)] */
export function asNibbles(tensor: TensorRef, rows: number, columns: number): TensorRef {
  const [from, width] = [Math.ceil(columns / 4), Math.ceil(columns / 2)];
  const read = partReader(tensor);
  const type = { name: tensor.name, elemType: UINT8, dims: [rows, width] };
  return computedTensor(type, [tensor], (begin, count, out) => {
    const first = Math.floor(begin / width);
    const codes = read(first * from, (Math.ceil((begin + count) / width) - first) * from);
    for (let i = 0; i < count; i++) {
      const row = Math.floor((begin + i) / width) - first;
      const column = (begin + i) % width;
      const four = codes[row * from + (column >> 1)]! >> (4 * (column & 1));
      out[i] = (four & 3) | ((four & 12) << 2);
    }
  });
}
