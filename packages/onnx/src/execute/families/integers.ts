/** Integers of dynamic quantization, and conversions between integers and floats, as in `q8` exports. */
import '../create.ts'; // see families.ts
import { dynamicOperators } from '../../ops/dynamic.ts';
import { dequantizedRows } from '../../ops/gather-codes.ts';
import { piece } from '../../ops/index.ts';
import { matMulIntegerOperators, matMulIntegerPatterns } from '../../ops/mat-mul-integer.ts';
import { quantizeOperators } from '../../ops/quantize.ts';
import type { FetchedFamily } from '../families.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({
  operators: [...matMulIntegerOperators, ...quantizeOperators, ...dynamicOperators],
  patterns: matMulIntegerPatterns,
  late: { dequantizedRows },
  schemas: {
    counts: {
      '1 > 3': 'DynamicQuantizeLinear',
      '2-3 > 1': 'DequantizeLinear QuantizeLinear com.microsoft.DequantizeLinear com.microsoft.QuantizeLinear',
      '2-4 > 1': 'MatMulInteger',
      '3-5 > 1': 'com.microsoft.DynamicQuantizeMatMul',
      '4-7 > 1': 'com.microsoft.MatMulIntegerToFloat',
    },
    kinds: { int: 'output_dtype precision' },
  },
});
