/** nn: everything between two products. A line per family of ops. */
export { argMax } from './arg-max/arg-max.ts';
export { elementwise } from './elementwise/elementwise.ts';
export type { Elementwise, ElementwiseNode } from './elementwise/expression.ts';
export { type FunctionId, functionIds } from './elementwise/functions.ts';
export { norm } from './norm/norm.ts';
export { reduce } from './reduce/reduce.ts';
export { rotary } from './rotary/rotary.ts';
export { softmax } from './softmax/softmax.ts';
