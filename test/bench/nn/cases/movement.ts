/** What moves elements: rotary, copies, rows of tables. */
import { concat, copy, expand, gather, gatherRows, rotary, slice, transpose } from '@msd/core/nn';
import { caseOf, type Data, f32, indices, int64, ints, microsoft, node } from './case.ts';

/** Qwen2.5-0.5B: 14 heads of 64, two of keys and values, after 128 tokens. */
const [HEADS, KV_HEADS, SIZE, PAST] = [14, 2, 64, 128];
/** Vocabulary of MiniLM and BERT, width of MiniLM. */
const [WORDS, WIDTH] = [30522, 384];
const BLOCK = 32;

function plainRotary(M: number, heads: number, size: number, interleaved: boolean) {
  const half = size / 2;
  return ([x, cos, sin, positions]: readonly Data[], [y]: readonly Data[]): void => {
    for (let m = 0; m < M; m++)
      for (let h = 0; h < heads; h++)
        for (let j = 0; j < half; j++) {
          const at = (m * heads + h) * size;
          const [a, b] = interleaved ? [at + 2 * j, at + 2 * j + 1] : [at + j, at + j + half];
          const place = positions![m]! * half + j;
          y![a] = x![a]! * cos![place]! - x![b]! * sin![place]!;
          y![b] = x![b]! * cos![place]! + x![a]! * sin![place]!;
        }
  };
}

const rotaryEntry = (name: string, heads: number, interleaved: boolean) =>
  caseOf(rotary)(name, (M) => {
    const positions = { ...indices([1, M], 2048), data: Int32Array.from({ length: M }, (_, m) => PAST + m) };
    return {
      op: { heads, interleaved },
      inputs: [f32([1, M, heads * SIZE]), f32([2048, SIZE / 2], 2), f32([2048, SIZE / 2], 3), positions],
      constants: [1, 2],
      onnx: {
        nodes: [
          microsoft('RotaryEmbedding', ['x0', 'x3', 'x1', 'x2'], ['y0'], {
            interleaved: { int: interleaved ? 1 : 0 },
          }),
        ],
        as: { 3: int64(positions) },
      },
      plain: plainRotary(M, heads, SIZE, interleaved),
      bytes: 4 * M * (2 * heads * SIZE + SIZE + 1),
      limit: 'read',
    };
  });

export const movementEntries = [
  rotaryEntry('rotary of queries, Qwen2.5-0.5B', HEADS, false),
  rotaryEntry('rotary of queries, interleaved, GPT-J’s form', HEADS, true),
  caseOf(copy)('transpose of heads 0213, Qwen2.5-0.5B', (M) => ({
    op: transpose([1, M, HEADS, SIZE], [0, 2, 1, 3]),
    inputs: [f32([1, M, HEADS, SIZE])],
    onnx: { nodes: [node('Transpose', ['x0'], ['y0'], { perm: { ints: [0, 2, 1, 3] } })] },
    plain: ([x], [y]) => {
      for (let h = 0; h < HEADS; h++)
        for (let m = 0; m < M; m++)
          for (let k = 0; k < SIZE; k++) y![(h * M + m) * SIZE + k] = x![(m * HEADS + h) * SIZE + k]!;
    },
    limit: 'read',
  })),
  caseOf(copy)('transpose of keys 0231, Qwen2.5-0.5B', (M) => ({
    op: transpose([1, PAST + M, KV_HEADS, SIZE], [0, 2, 3, 1]),
    inputs: [f32([1, PAST + M, KV_HEADS, SIZE])],
    onnx: { nodes: [node('Transpose', ['x0'], ['y0'], { perm: { ints: [0, 2, 3, 1] } })] },
    plain: ([x], [y]) => {
      for (let h = 0; h < KV_HEADS; h++)
        for (let k = 0; k < SIZE; k++)
          for (let m = 0; m < PAST + M; m++) y![(h * SIZE + k) * (PAST + M) + m] = x![(m * KV_HEADS + h) * SIZE + k]!;
    },
    limit: 'read',
  })),
  caseOf(copy)('slice of queries out of q, k, v, Qwen2.5-0.5B', (M) => ({
    op: slice([M, 1152], { starts: [0], ends: [896], axes: [1] }),
    inputs: [f32([M, 1152])],
    onnx: {
      nodes: [node('Slice', ['x0', 'starts', 'ends', 'axes'], ['y0'])],
      also: [ints('starts', 0), ints('ends', 896), ints('axes', 1)],
    },
    plain: ([x], [y]) => {
      for (let m = 0; m < M; m++) for (let k = 0; k < 896; k++) y![m * 896 + k] = x![m * 1152 + k]!;
    },
    bytes: 8 * M * 896,
    limit: 'read',
  })),
  caseOf(copy)('concat of 128 past keys and new ones, Qwen2.5-0.5B', (M) => ({
    op: concat(
      [
        [1, KV_HEADS, PAST, SIZE],
        [1, KV_HEADS, M, SIZE],
      ],
      2,
    ),
    inputs: [f32([1, KV_HEADS, PAST, SIZE]), f32([1, KV_HEADS, M, SIZE], 2)],
    onnx: { nodes: [node('Concat', ['x0', 'x1'], ['y0'], { axis: { int: 2 } })] },
    plain: ([past, keys], [y]) => {
      for (let h = 0; h < KV_HEADS; h++) {
        y!.set(past!.subarray(h * PAST * SIZE, (h + 1) * PAST * SIZE), h * (PAST + M) * SIZE);
        y!.set(keys!.subarray(h * M * SIZE, (h + 1) * M * SIZE), (h * (PAST + M) + PAST) * SIZE);
      }
    },
    limit: 'read',
  })),
  caseOf(copy)('keys for seven heads each, Qwen2.5-0.5B', (M) => {
    const [from, to] = [
      [1, KV_HEADS, 1, PAST + M, SIZE],
      [1, KV_HEADS, HEADS / KV_HEADS, PAST + M, SIZE],
    ] as const;
    const length = (PAST + M) * SIZE;
    return {
      op: expand(from, to),
      inputs: [f32(from)],
      onnx: { nodes: [node('Expand', ['x0', 'shape'], ['y0'])], also: [ints('shape', ...to)] },
      plain: ([x], [y]) => {
        for (let h = 0; h < HEADS; h++) {
          const own = Math.floor((h * KV_HEADS) / HEADS);
          y!.set(x!.subarray(own * length, (own + 1) * length), h * length);
        }
      },
      limit: 'read',
    };
  }),
  caseOf(gather)('rows of a float embedding, MiniLM-L6', (M) => ({
    op: {},
    inputs: [f32([WORDS, WIDTH]), indices([M], WORDS)],
    constants: [0],
    onnx: { nodes: [node('Gather', ['x0', 'x1'], ['y0'])] },
    plain: ([table, ids], [y]) => {
      for (let m = 0; m < M; m++) y!.set(table!.subarray(ids![m]! * WIDTH, (ids![m]! + 1) * WIDTH), m * WIDTH);
    },
    bytes: M * (8 * WIDTH + 4),
    limit: 'read',
  })),
  caseOf(gatherRows)('rows of an int4 embedding, MiniLM-L6', (M) => {
    const blocks = WIDTH / BLOCK;
    const codes: Int32Array = Int32Array.from({ length: (WORDS * WIDTH) / 8 }, (_, i) => Math.imul(i + 1, 0x9e3779b1));
    const format = { kind: 'blocks', bits: 4, signed: false, blockSize: BLOCK, scales: 'f32', zeroPoint: 8 } as const;
    const scales = f32([WORDS * blocks], 2);
    const zeros = new Uint8Array((WORDS * blocks) / 2).fill(0x88);
    return {
      op: { table: { rows: WORDS, columns: WIDTH, format } },
      inputs: [{ dtype: 'i32', dims: [codes.length], data: codes }, indices([M], WORDS), scales],
      constants: [0, 2],
      onnx: {
        nodes: [
          microsoft('GatherBlockQuantized', ['x0', 'x1', 'x2', 'zeros'], ['y0'], {
            block_size: { int: BLOCK },
            gather_axis: { int: 0 },
            quantize_axis: { int: 1 },
          }),
        ],
        also: [{ name: 'zeros', dtype: 'uint4', dims: [WORDS, blocks], data: zeros }],
        as: {
          0: { dtype: 'uint4', dims: [WORDS, WIDTH], data: codes },
          2: { dtype: 'float32', dims: [WORDS, blocks], data: scales.data },
        },
      },
      plain: ([words, ids, scale], [y]) => {
        const bytes = new Uint8Array(words!.buffer, words!.byteOffset, words!.byteLength);
        for (let m = 0; m < M; m++)
          for (let k = 0; k < WIDTH; k++) {
            const at = ids![m]! * WIDTH + k;
            const code = k % 2 ? bytes[at >> 1]! >> 4 : bytes[at >> 1]! & 15;
            y![m * WIDTH + k] = (code - 8) * scale![ids![m]! * blocks + Math.floor(k / BLOCK)]!;
          }
      },
      bytes: M * (4.5 * WIDTH + 4 * blocks + 4),
    };
  }),
];
