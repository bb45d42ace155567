/** Tables whose rows are also a matrix of a product. Fetched for models that have one: of tied embeddings, quantized. */
import './create.ts'; // see families.ts
import type { PreparedWeights } from '@msd/core';
import { checkIndices } from '@msd/core/nn';
import { preparedRows } from '@msd/core/program';
import { piece } from '../ops/index.ts';
import type { ReadRows, TableRef } from '../ops/lowering.ts';

/** Rows of a matrix that is packed already. */
function rowsOfTwin({ rows, columns }: TableRef, matrix: PreparedWeights): ReadRows {
  const read = preparedRows(matrix);
  return (indices, out) => {
    checkIndices('gatherRows', indices, rows);
    for (let i = 0; i < indices.length; i++) {
      const index = indices[i]!;
      read(index < 0 ? index + rows : index, out, i * columns);
    }
  };
}

export const twins = /* @__PURE__ */ piece({ rowsOfTwin });
