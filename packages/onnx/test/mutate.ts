/** Seeded damage to model files, and the corpus it is done to. */
import { readdirSync, readFileSync } from 'node:fs';
import { encodeFields, type Field, fieldLists, parseFields } from './field-tree.ts';
import { random } from './models.ts';

const folder = new URL('./corpus/', import.meta.url);

/** The checked-in files by name. */
export function corpus(): Map<string, Uint8Array> {
  const names = readdirSync(folder).filter((name) => name.endsWith('.onnx'));
  return new Map(names.map((name) => [name, new Uint8Array(readFileSync(new URL(name, folder)))]));
}

/** Varints that lengths and dims had better not be believed in. */
const HUGE: readonly (readonly number[])[] = [
  [0xff, 0xff, 0xff, 0xff, 0x0f], // 2³² − 1
  [0xff, 0xff, 0xff, 0xff, 0x07], // 2³¹ − 1
  [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10], // 2⁵³
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], // −1
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // endless
];

function splice(bytes: Uint8Array, at: number, remove: number, insert: ArrayLike<number>): Uint8Array {
  const rest = bytes.subarray(Math.min(bytes.length, at + remove));
  const out = new Uint8Array(at + insert.length + rest.length);
  out.set(bytes.subarray(0, at));
  out.set(insert, at);
  out.set(rest, at + insert.length);
  return out;
}

/**
 * Damages a file of the corpus: half of the time its bytes, whatever they mean, else its fields, lengths kept right. Files
 * that do not parse (regressions) always get the former.
 */
export function mutant(files: readonly Uint8Array[], seed: number): Uint8Array {
  const next = random(seed * 2654435761);
  const below = (limit: number): number => Math.floor(next() * limit);
  const bytes = files[below(files.length)]!;
  const fields = below(2) === 0 ? tryParse(bytes) : undefined;
  if (!fields) return damagedBytes(bytes, files, below);
  return below(3) === 0 ? damagedModel(fields, below) : damagedFields(fields, below);
}

function tryParse(bytes: Uint8Array): Field[] | undefined {
  try {
    return parseFields(bytes);
  } catch {
    return undefined;
  }
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Names that objects have already, that say nothing, or that look like ours. */
const NAMES = ['__proto__', 'constructor', 'toString', '', '?1', 'xᵀ', '0', 'a\0b', ' '];
const LOCATIONS = ['w.bin', '../w.bin', '/etc/passwd', '', '__proto__', 'a/b', 'C:\\w', '/dev/zero'];

const stringField = (number: number, value: string): Field => ({
  number,
  wire: 2,
  payload: text(value),
  children: undefined,
});
const intField = (number: number, value: number): Field => ({
  number,
  wire: 0,
  payload: Uint8Array.of(value),
  children: undefined,
});

/** What a model means, damaged: operands, results, kinds of attributes, names, places of tensors. */
function damagedModel(fields: Field[], below: (limit: number) => number): Uint8Array {
  const graph = fields.find(({ number, children }) => number === 7 && children)?.children ?? [];
  const nodes = graph.filter(({ number }) => number === 1).map(({ children }) => children ?? []);
  const tensors = graph.filter(({ number }) => number === 5).map(({ children }) => children ?? []);
  const pick = <T>(list: readonly T[]): T | undefined => list[below(list.length)];
  for (let count = 1 + below(2); count > 0; count--) {
    const node = pick(nodes) ?? [];
    const names = nodes.flatMap((each) => each.filter(({ number }) => number === 1 || number === 2));
    switch (below(7)) {
      case 0: // one more operand, or result
        node.push({ number: 1 + below(2), wire: 2, payload: pick(names)?.payload ?? text('x'), children: undefined });
        break;
      case 1: // a result of its own, which nobody makes
        node.push(stringField(2, `more${count}`));
        break;
      case 2: {
        // the last operand or result gone
        const at = node.findLastIndex(({ number }) => number === 1 + below(2));
        if (at >= 0) node.splice(at, 1);
        break;
      }
      case 3: {
        // an attribute of another kind
        const attribute = pick(node.filter(({ number }) => number === 5))?.children ?? [];
        const value = attribute.findIndex(({ number }) => number !== 1 && number !== 20);
        if (value >= 0) attribute.splice(value, 1, pick([intField(3, 1), intField(8, 1), stringField(4, 'NOTSET')])!);
        break;
      }
      case 4: {
        // a name everywhere replaced
        const from = pick(names)?.payload;
        const to = text(pick(NAMES)!);
        for (const list of fieldLists(fields))
          for (const field of list)
            if (from && field.wire === 2 && !field.children && sameBytes(field.payload, from)) field.payload = to;
        break;
      }
      case 5: {
        // a tensor that lies in a file
        const tensor = pick(tensors);
        if (!tensor) break;
        const entry = (key: string, value: string): Field => ({
          number: 13,
          wire: 2,
          payload: new Uint8Array(0),
          children: [stringField(1, key), stringField(2, value)],
        });
        for (let i = tensor.length - 1; i >= 0; i--) if (tensor[i]!.number === 9) tensor.splice(i, 1);
        tensor.push(entry('location', pick(LOCATIONS)!), entry('offset', pick(['0', '-1', '1e30', 'x', '8'])!));
        tensor.push(intField(14, 1));
        break;
      }
      default: {
        // an output, an input or a tensor twice
        const field = pick(graph.filter(({ number }) => number >= 5 && number <= 12));
        if (field) graph.push(structuredClone(field));
      }
    }
  }
  return encodeFields(fields);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** One to three fields removed, repeated, moved, exchanged with another of their kind, or changed inside. */
function damagedFields(fields: Field[], below: (limit: number) => number): Uint8Array {
  for (let count = 1 + below(3); count > 0; count--) {
    const lists = fieldLists(fields).filter((list) => list.length > 0);
    if (lists.length === 0) break;
    const list = lists[below(lists.length)]!;
    const at = below(list.length);
    const field = list[at]!;
    const kin = lists.flat().filter((other) => other.wire === field.wire && !other.children === !field.children);
    const other = kin[below(kin.length)]!;
    switch (below(6)) {
      case 0:
        list.splice(at, 1);
        break;
      case 1:
        list.splice(below(list.length), 0, structuredClone(field));
        break;
      case 2:
        list.splice(below(list.length), 0, ...list.splice(at, 1));
        break;
      case 3:
        field.payload = other.payload;
        field.children = structuredClone(other.children);
        break;
      case 4:
        if (field.wire === 0) field.payload = Uint8Array.from(HUGE[below(HUGE.length - 1)]!);
        else field.payload = field.payload.slice(0, below(field.payload.length + 1));
        break;
      default: {
        const payload = field.payload.slice();
        const byte = below(payload.length);
        if (payload.length > 0) payload[byte]! ^= field.wire === 0 ? 1 << below(7) : 1 << below(8);
        field.payload = payload;
      }
    }
  }
  return encodeFields(fields);
}

/**
 * One to three of truncation, flipped bits, changed bytes, removed or repeated stretches, pieces of other files, huge
 * varints in place of bytes (every length field is hit sooner or later).
 */
function damagedBytes(
  original: Uint8Array,
  files: readonly Uint8Array[],
  below: (limit: number) => number,
): Uint8Array {
  let bytes: Uint8Array = original.slice();
  for (let count = 1 + below(3); count > 0 && bytes.length > 0; count--) {
    const at = below(bytes.length);
    switch (below(7)) {
      case 0:
        bytes = bytes.slice(0, at);
        break;
      case 1:
        bytes[at]! ^= 1 << below(8);
        break;
      case 2:
        bytes[at] = below(256);
        break;
      case 3:
        bytes = splice(bytes, at, 1 + below(40), []);
        break;
      case 4:
        bytes = splice(bytes, at, 0, bytes.slice(at, at + 1 + below(60)));
        break;
      case 5: {
        const other = files[below(files.length)]!;
        const from = below(other.length);
        bytes = splice(bytes, at, below(60), other.subarray(from, from + 1 + below(60)));
        break;
      }
      default:
        bytes = splice(bytes, at, 1, HUGE[below(HUGE.length)]!);
    }
  }
  return bytes;
}
