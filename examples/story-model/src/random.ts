/** Seeded randomness: everything in this example (stories, weights, batches, samples) repeats exactly. */
export { gaussian as normal, type Random, random as seededRandom } from '@msd/core/numerics';
