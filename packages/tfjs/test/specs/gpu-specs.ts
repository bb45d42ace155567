/** The specs of the operations that MSD takes over (matMul, fused matMul) or stands in for (einsum, look-ups, sums of rows). */
// @ts-nocheck their declarations lie beside the ES modules, which TypeScript's Node resolution does not look for
import '@tensorflow/tfjs-core/dist/ops/mat_mul_test';
import '@tensorflow/tfjs-core/dist/ops/fused/fused_mat_mul_test';
import '@tensorflow/tfjs-core/dist/ops/einsum_test';
import '@tensorflow/tfjs-core/dist/ops/gather_test';
import '@tensorflow/tfjs-core/dist/ops/sparse/sparse_segment_mean_test';
import '@tensorflow/tfjs-core/dist/ops/sparse/sparse_segment_sum_test';
