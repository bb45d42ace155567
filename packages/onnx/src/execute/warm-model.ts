/**
 * A decoder of a few layers in which every weight is zero, as today's exports write one: small enough to be made in code, and large
 * enough to go through everything that a real one goes through.
 *
 *   ids [batch, rows] -> norm -> q, k, v -> GroupQueryAttention -> o -> norm -> gate, up -> SwiGLU -> down -> norm -> logits
 */

/** A message of protobuf, encoded: here, because what writes models otherwise is a piece of 6 KB that few pages fetch. */
type Bytes = readonly number[];

/** Element types: their own numbers, for an import would make data-types.ts one more piece that every page asks for. */
const [FLOAT, UINT8, INT32, INT64] = [1, 2, 6, 7] as const;
/** Rows, columns, and the size of a head. */
const SIZE = 64;
const BLOCK = 32;
/** Positions that there are angles for: as many as a rehearsal reaches. */
const POSITIONS = 160;
const LAYERS = 4;

const varint = (value: number): Bytes => (value < 128 ? [value] : [128 | (value & 127), ...varint(value >> 7)]);
const int = (field: number, value: number): Bytes => [...varint(field << 3), ...varint(value)];
const part = (field: number, content: string | Bytes): Bytes => {
  const bytes = typeof content === 'string' ? Array.from(content, (letter) => letter.charCodeAt(0)) : content;
  return [...varint((field << 3) | 2), ...varint(bytes.length), ...bytes];
};

const attribute = ([name, value]: readonly [string, number]): Bytes =>
  part(5, [...part(1, name), ...int(3, value), ...int(20, 2)]);

/** @param op of Microsoft's domain, if it begins with a dot @param names of inputs, `>`, and names of outputs */
function node(op: string, names: string, attributes: Readonly<Record<string, number>> = {}): Bytes {
  const [inputs, outputs] = names.split('>').map((side) => side.split(' ')) as [string[], string[]];
  return part(1, [
    ...inputs.flatMap((name) => part(1, name)),
    ...outputs.flatMap((name) => part(2, name)),
    ...part(4, op.replace('.', '')),
    ...Object.entries(attributes).flatMap(attribute),
    ...(op.startsWith('.') ? part(7, 'com.microsoft') : []),
  ]);
}

/** @param data default: zeros */
function tensor(name: string, type: number, dims: readonly number[], data?: Bytes): Bytes {
  const byteLength = (type === FLOAT ? 4 : 1) * dims.reduce((count, dim) => count * dim, 1);
  const bytes = data ?? new Array<number>(byteLength).fill(0);
  return part(5, [...dims.flatMap((dim) => int(1, dim)), ...int(2, type), ...part(8, name), ...part(9, bytes)]);
}

function value(field: number, name: string, type: number, dims: readonly (string | number)[]): Bytes {
  const shape = dims.flatMap((dim) => part(1, typeof dim === 'number' ? int(1, dim) : part(2, dim)));
  return part(field, [...part(1, name), ...part(2, part(1, [...int(1, type), ...part(2, shape)]))]);
}

/** y = x · Wᵀ, with the same W everywhere. */
const linear = (x: string, y: string): Bytes =>
  node('.MatMulNBits', `${x} w s>${y}`, { K: SIZE, N: SIZE, bits: 4, block_size: BLOCK });

function layer(i: number): Bytes {
  const own = (names: string): string => names.replace(/\b[a-z]\w*/g, (name) => `${name}${i}`);
  return [
    ...['q', 'k', 'v'].flatMap((name) => linear(`x${i}`, own(name))),
    ...node('.GroupQueryAttention', `${own('q k v pk pv')} last total angles angles>${own('a nk nv')}`, {
      num_heads: 1,
      kv_num_heads: 1,
      do_rotary: 1,
    }),
    ...linear(own('a'), own('o')),
    ...node('.SkipSimplifiedLayerNormalization', `${own('r o')} g>${own('m   t')}`),
    ...linear(own('m'), own('gate')),
    ...linear(own('m'), own('up')),
    ...node('Sigmoid', own('gate>sg')),
    ...node('Mul', own('gate sg>si')),
    ...node('Mul', own('si up>h')),
    ...linear(own('h'), own('d')),
    ...node('.SkipSimplifiedLayerNormalization', `${own('t d')} g>x${i + 1}   r${i + 1}`),
  ];
}

export function warmModel(): Uint8Array {
  const one = [1, 0, 0, 0, 0, 0, 0, 0];
  const caches = (field: number, prefix: string, length: string): Bytes =>
    Array.from({ length: 2 * LAYERS }, (_, i) =>
      value(field, `${prefix}${i % 2 ? 'v' : 'k'}${i >> 1}`, FLOAT, ['batch', 1, length, SIZE]),
    ).flat();
  const graph = [
    ...node('ReduceSum', 'mask ones>sum', { keepdims: 0 }),
    ...node('Sub', 'sum ones>end'),
    ...node('Cast', 'end>last', { to: INT32 }),
    ...node('Shape', 'mask>sizes'),
    ...node('Gather', 'sizes one>all'),
    ...node('Cast', 'all>total', { to: INT32 }),
    ...node('Gather', 'table ids>r0'),
    ...node('SimplifiedLayerNormalization', 'r0 g>x0'),
    ...Array.from({ length: LAYERS }, (_, i) => layer(i)).flat(),
    ...linear(`x${LAYERS}`, 'logits'),
    ...part(2, 'warm'),
    ...tensor('ones', INT64, [1], one),
    ...tensor('one', INT64, [], one),
    ...tensor('table', FLOAT, [1, SIZE]),
    ...tensor('g', FLOAT, [SIZE]),
    ...tensor('w', UINT8, [SIZE, SIZE / BLOCK, BLOCK / 2]),
    ...tensor('s', FLOAT, [(SIZE * SIZE) / BLOCK]),
    ...tensor('angles', FLOAT, [POSITIONS, SIZE / 2]),
    ...value(11, 'ids', INT64, ['batch', 'rows']),
    ...value(11, 'mask', INT64, ['batch', 'length']),
    ...caches(11, 'p', 'past'),
    ...value(12, 'logits', FLOAT, ['batch', 'rows', SIZE]),
    ...caches(12, 'n', 'length'),
  ];
  const opset = (domain: string, version: number): Bytes => part(8, [...part(1, domain), ...int(2, version)]);
  return Uint8Array.from([...int(1, 10), ...part(7, graph), ...opset('', 21), ...opset('com.microsoft', 1)]);
}
