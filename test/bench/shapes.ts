/** Linear layers of real language models, by name: those of `msd bench`. */
export * from '../../packages/cli/src/bench/shapes.ts';
