/** Windows over images with their channels last; onnxruntime-web wants them the other way round, and is given a Transpose on each side. */
import { type WindowsOp, windows } from '@msd/core/nn';
import { caseOf, count, type Data, f32, node } from './case.ts';

/** As many lines as a line of text has behind the second stage of PP-OCRv4. */
const LINES = 12;

function plainWindows({ kind, kernel: [down, across] }: WindowsOp, M: number, C: number) {
  const width = M + across - 1;
  return ([x, w]: readonly Data[], [y]: readonly Data[]): void => {
    for (let line = 0, to = 0; line < LINES; line++)
      for (let column = 0; column < M; column++)
        for (let c = 0; c < C; c++, to++) {
          let value = kind === 'max' ? Number.NEGATIVE_INFINITY : 0;
          for (let i = 0; i < down; i++)
            for (let j = 0; j < across; j++) {
              const own = x![((line + i) * width + column + j) * C + c]!;
              if (kind === 'max') value = Math.max(value, own);
              else value += kind === 'mean' ? own : own * w![(i * across + j) * C + c]!;
            }
          y![to] = kind === 'mean' ? value / (down * across) : value;
        }
  };
}

const OPERATORS = { mean: 'AveragePool', max: 'MaxPool' } as const;

const over = (name: string, kind: WindowsOp['kind'], size: number, C: number) =>
  caseOf(windows)(name, (M) => {
    const op = { kind, kernel: [size, size], strides: [1, 1], dilations: [1, 1] } as const;
    const w = f32([size * size, C], 2);
    const kernel = { kernel_shape: { ints: op.kernel } };
    const inside =
      kind === 'weighted'
        ? node('Conv', ['image', 'filters'], ['slid'], { ...kernel, group: { int: C } })
        : node(OPERATORS[kind], ['image'], ['slid'], kernel);
    const filters = Float32Array.from(
      w.data,
      (_, i) => w.data[(i % (size * size)) * C + Math.floor(i / (size * size))]!,
    );
    return {
      op,
      inputs: [f32([1, LINES + size - 1, M + size - 1, C]), ...(kind === 'weighted' ? [w] : [])],
      constants: kind === 'weighted' ? [1] : [],
      onnx: {
        nodes: [
          node('Transpose', ['x0'], ['image'], { perm: { ints: [0, 3, 1, 2] } }),
          inside,
          node('Transpose', ['slid'], ['y0'], { perm: { ints: [0, 2, 3, 1] } }),
        ],
        also:
          kind === 'weighted' ? [{ name: 'filters', dtype: 'float32', dims: [C, 1, size, size], data: filters }] : [],
      },
      plain: plainWindows(op, M, C),
      macs: LINES * M * C * count(op.kernel),
      limit: 'mulAdd',
    };
  });

export const imageEntries = [
  over('depthwise 5x5 of 240 channels, PP-OCRv4', 'weighted', 5, 240),
  over('depthwise 3x3 of 64 channels, PP-OCRv4', 'weighted', 3, 64),
  over('AveragePool 3x3 of 480 channels, PP-OCRv4', 'mean', 3, 480),
  over('MaxPool 3x3 of 64 channels, ResNet', 'max', 3, 64),
];
