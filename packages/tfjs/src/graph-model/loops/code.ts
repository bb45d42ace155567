/** What of loops is fetched with the first model that has one. */
export { applyLoop } from './apply.ts';
export { loopOp } from './run.ts';
export { findLoops, loopInputs, loopNodes } from './take.ts';
