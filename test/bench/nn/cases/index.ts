/** Every op of nn at shapes of named models. A new op is a line in one of these files. */
import type { NnEntry } from './case.ts';
import { elementwiseEntries } from './elementwise.ts';
import { imageEntries } from './images.ts';
import { matMulEntries } from './mat-mul.ts';
import { movementEntries } from './movement.ts';
import { rowEntries } from './rows.ts';

export const NN_ENTRIES: readonly NnEntry[] = [
  ...elementwiseEntries,
  ...rowEntries,
  ...movementEntries,
  ...matMulEntries,
  ...imageEntries,
];
