/** What of loops is fetched with the first model that has one. */
export { loopOp } from './run.ts';
export { findLoops, loopInputs, loopNodes, takeLoop } from './take.ts';
