/** What files may consist of: fields around, and bytes that are repeated. */
export const BUDGET_KINDS: Readonly<
  Record<string, { readonly path: readonly number[]; readonly payload: readonly number[]; readonly isList: boolean }>
> = {
  'packed dims': { path: [7, 5, 1], payload: [1], isList: true },
  'single dims': { path: [7, 5], payload: [8, 1], isList: true },
  'packed ints': { path: [7, 1, 5, 8], payload: [1], isList: true },
  'single ints': { path: [7, 1, 5], payload: [0x40, 1], isList: true },
  'packed floats': { path: [7, 1, 5, 7], payload: [0, 0, 0, 0], isList: true },
  strings: { path: [7, 1, 5], payload: [0x4a, 0], isList: true },
  nodes: { path: [7], payload: [0x0a, 3, 0x22, 1, 65], isList: false },
  'nodes with results': { path: [7], payload: [0x0a, 6, 0x12, 1, 65, 0x22, 1, 65], isList: false },
  inputs: { path: [7, 1], payload: [0x0a, 0], isList: false },
  'inputs with names': { path: [7, 1], payload: [0x0a, 3, 65, 66, 67], isList: false },
  attributes: { path: [7, 1], payload: [0x2a, 3, 0x0a, 1, 65], isList: false },
  initializers: { path: [7], payload: [0x2a, 0], isList: false },
  'external entries': { path: [7, 5], payload: [0x6a, 0], isList: false },
  'value types': { path: [7], payload: [0x6a, 0], isList: false },
  'graph inputs': { path: [7], payload: [0x5a, 0], isList: false },
  'type dims': { path: [7, 11, 2, 1, 2], payload: [0x0a, 0], isList: true },
  sparse: { path: [7], payload: [0x7a, 0], isList: false },
  opsets: { path: [], payload: [0x42, 0], isList: false },
  functions: { path: [], payload: [0xca, 1, 0], isList: false },
  'nodes of a branch': { path: [7, 1, 5, 6], payload: [0x0a, 3, 0x22, 1, 65], isList: false },
};
