/** nn: everything between two products. A line per family of ops. */
export { norm } from './norm/norm.ts';
