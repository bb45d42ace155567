/** Names of values when a body (a function's, a branch's) is put into the graph that it stands in: every name means one thing. */
import type { NodeRecord } from '../read/node.ts';
import { bytesSource } from '../read/source.ts';

/** Names that are taken, and by whom: the same owner gets the same name again. */
export class Names {
  readonly #owners = new Map<string, unknown>();
  /** How many were made of a name. */
  readonly #counts = new Map<string, number>();

  /** @param of whose name it is */
  take(name: string, of: unknown): void {
    this.#owners.set(name, of);
  }

  /** The name itself if nobody else has it, else one like it. */
  fresh(name: string, of: unknown, where: string): string {
    const base = `${name} in ${where}`;
    for (let candidate = name; ; ) {
      const owner = this.#owners.get(candidate);
      if (owner === undefined || owner === of) {
        this.#owners.set(candidate, of);
        return candidate;
      }
      const count = (this.#counts.get(base) ?? 0) + 1;
      this.#counts.set(base, count);
      candidate = count === 1 ? base : `${base} (${count})`;
    }
  }
}

/**
 * A node of a body between other values.
 *
 * @param names gives the graph's name for one of the body
 * @param inside what it stood in
 */
export function renamed(node: NodeRecord, names: (name: string) => string, inside: string): NodeRecord {
  const rename = (name: string): string => (name === '' ? '' : names(name));
  const inputs = node.inputs.map(rename);
  const outputs = node.outputs.map(rename);
  const captures = node.captures.map(rename);
  const range = { ...node.range }; // its own: a body may be put in twice
  const before = node.captured ?? new Map(node.captures.map((name) => [name, name]));
  const captured = new Map([...before].map(([bytes, name]) => [bytes, rename(name)]));
  return { ...node, inputs, outputs, captures, captured, range, isEdited: true, inside };
}

/** An Identity that is not in the file: a body returns a value unchanged. */
export function identity(from: string, to: string, inside: string): NodeRecord {
  return {
    name: '',
    opType: 'Identity',
    domain: '',
    overload: '',
    inputs: [from],
    outputs: [to],
    attributes: new Map(),
    attributeRanges: [],
    range: { source: bytesSource(new Uint8Array(0)), offset: 0, length: 0 },
    isEdited: true,
    captures: [],
    externalInside: false,
    referencesInside: false,
    operatorsInside: [],
    inside,
  };
}
