// What a page bundles that multiplies quantized tensors: attention and models are downloaded by those that use them.
export { matMul, quantize, register } from '../../packages/tfjs/dist/index.js';
