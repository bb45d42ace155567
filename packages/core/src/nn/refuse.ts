/** The error of an op's `infer` for arguments that it does not take. */
export function refuse(op: string, what: string, expected: string, got: unknown): never {
  throw new RangeError(`${op}: ${what} expected ${expected}, got ${got}.`);
}
