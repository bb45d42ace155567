/** nn: everything between two products. A line per family of ops. */
export { norm } from './norm/norm.ts';
export { rotary } from './rotary/rotary.ts';
export { softmax } from './softmax/softmax.ts';
