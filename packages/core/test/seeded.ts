/** The seeded generator of all tests and benchmarks: simulations that are published use it, too. */
export * from '../src/numerics/seeded.ts';
