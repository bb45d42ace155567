/** Seeded randomness: everything in this example (stories, weights, batches, samples) repeats exactly. */
export { normal, type Random, seededRandom } from '../../../packages/cli/src/models/random.ts';
