import { halfBitsOf } from '@msd/onnx/model';
import { Tensor } from 'onnxruntime-web';
import { expect, it } from 'vitest';
import { floatsOfTensor } from './floats.ts';

it('gives the numbers of a tensor, whatever its type is', () => {
  const numbers = [1.5, -2, 0, 65504];
  const tensors = [
    new Tensor('float32', Float32Array.from(numbers), [4]),
    new Tensor('float16', halfBitsOf(numbers), [4]),
    new Tensor('float64', Float64Array.from(numbers), [4]),
  ];
  for (const tensor of tensors) expect([...floatsOfTensor(tensor)]).toEqual(numbers);
  expect([...floatsOfTensor(new Tensor('int64', BigInt64Array.of(-3n, 4n), [2]))]).toEqual([-3, 4]);
});
