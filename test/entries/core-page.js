// What a page bundles that quantizes a matrix and multiplies: threads and other devices are fetched where they are used.
export { createBackend, matmul, quantizeWeights } from '../../packages/core/dist/index.js';
