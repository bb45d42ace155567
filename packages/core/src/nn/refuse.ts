/** How `infer` of an op says no. */
export function refuse(op: string, what: string, expected: string, got: unknown): never {
  throw new RangeError(`${op}: ${what} expected ${expected}, got ${got}.`);
}
